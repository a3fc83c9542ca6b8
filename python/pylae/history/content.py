"""The content of an entry: a document as it was written, without its secrets, named by its digest, in parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pylae.config.builder import ConfigBuilder
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.written import HIDDEN, as_written, is_mark, written
from pylae.errors import Problem

MOST_CONTENT = 64 * 1024 * 1024
"""Bytes of a content. A configuration file has at most half of it; as JSON it may be longer."""
PART = 700 * 1024
"""Bytes of a part, so that it fits into a value of a store as base64."""
MOST_PARTS = 48
"""Parts of a content. They can be deleted in one transaction."""
_LEVEL = 6

At = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A document, ready to be kept: the JSON, compressed, and the SHA-256 of the JSON."""

    digest: str
    packed: bytes


class ContentError(ValueError):
    """A content that cannot be what it is said to be. The text says why."""


def document_of(builder: ConfigBuilder) -> Any:
    """Returns the configuration of a gateway as it was written, without what code adds, with references as such.

    Each secret that is not written as a reference is `HIDDEN`. Do not change it: parts of it may be in force.
    """
    if builder.document is None:
        return without_marks(written(builder.written))
    return as_written(builder.document.root, builder.written, lambda _: HIDDEN)


def shown(builder: ConfigBuilder) -> Any:
    """Returns the same with a mark for each secret, with which this process finds it again."""
    document = builder.document
    return as_written(document.root, builder.written) if document else written(builder.written)


def without_marks(value: Any) -> Any:
    """Returns a document with `HIDDEN` in place of the marks."""
    if isinstance(value, Mapping):
        return {key: without_marks(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_marks(item) for item in value]
    return HIDDEN if is_mark(value) else value


def hidden_places(document: Any) -> Iterator[At]:
    """Yields where secrets are written in a document without them."""
    yield from _hidden(document, ())


def _hidden(value: Any, path: At) -> Iterator[At]:
    if isinstance(value, Mapping | list):
        for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _hidden(item, (*path, step))
    elif value == HIDDEN:
        yield path


def literal_secrets(builder: ConfigBuilder, document: Any) -> list[Problem]:
    """Returns a problem for each secret that is written in a configuration, for a store that others can read.

    `document` is what `document_of` returns for it.
    """
    message = "a secret must not be written here: what is kept in a shared store is read by all its gateways"
    hint = "write ${NAME} or ${file:PATH}, and give each gateway the variable or the file"
    return [builder.problem_at(Finding(path, message, hint)) for path in hidden_places(document)]


def pack(document: Any) -> Content:
    """Returns a document ready to be kept. Raises ContentError if it is too long."""
    # The order of keys is kept: it may mean something, and people have chosen it.
    text = json.dumps(document, separators=(",", ":")).encode("ascii")
    if len(text) > MOST_CONTENT:
        raise ContentError(f"it has {len(text)} bytes, and at most {MOST_CONTENT} can be kept")
    packed = zlib.compress(text, _LEVEL)
    if len(packed) > PART * MOST_PARTS:
        raise ContentError(f"it has {len(packed)} bytes, and at most {PART * MOST_PARTS} can be kept")
    return Content(hashlib.sha256(text).hexdigest(), packed)


def unpack(content: Content) -> Any:
    """Returns the document. Raises ContentError if it is not the one that the digest names."""
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(content.packed, MOST_CONTENT + 1)
    except zlib.error:
        raise ContentError("it cannot be decompressed") from None
    if len(text) > MOST_CONTENT or not decompressor.eof:
        raise ContentError("it is cut, or too long")
    if hashlib.sha256(text).hexdigest() != content.digest:
        raise ContentError("it is not what the digest says")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ContentError("it is not JSON") from None


def parts_of(content: Content) -> list[bytes]:
    """Returns the values in which a store keeps a content."""
    count = max(1, -(-len(content.packed) // PART))
    return [
        json.dumps(
            {
                "version": 1,
                "part": part,
                "parts": count,
                "data": base64.b64encode(content.packed[part * PART : (part + 1) * PART]).decode("ascii"),
            }
        ).encode("ascii")
        for part in range(count)
    ]


def read_part(data: bytes, number: int) -> tuple[bytes, int]:
    """Returns what a part has, and how many parts there are. Raises ContentError."""
    try:
        found = json.loads(data)
        version, part, parts, text = found["version"], found["part"], found["parts"], found["data"]
        if version != 1:
            raise ContentError("it is in a form that this version of Pylae does not know")
        if part != number or type(parts) is not int or not number < parts <= MOST_PARTS:
            raise ContentError(f"part {number} says that it is another one")
        return base64.b64decode(text, validate=True), parts
    except ContentError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise ContentError(f"part {number} cannot be read") from None


def joined(digest: str, parts: Sequence[bytes]) -> Content:
    """Returns the content that parts make up."""
    return Content(digest, b"".join(parts))
