"""Compression of responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.base import Settings, refusal
from pylae.units import ByteSize

if TYPE_CHECKING:
    from pylae.settings.fields import CompressionFields

_NAME = r"[!#$%&'+.^_`|~0-9A-Za-z-]+"
_MEDIA = re.compile(rf"{_NAME}/(\*|(\*\+)?{_NAME})|\*/\*")


def _media_type(text: str) -> str:
    if not _MEDIA.fullmatch(text):
        raise refusal("is not a media type", 'write it like "text/html", "text/*" or "application/*+json"')
    return text.lower()


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise refusal("lists a name twice", "remove one of them")
    return value


MediaTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_media_type)], ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]


class Compression(Settings):
    """Compresses responses for clients that accept it.

    Names alone are short for `algorithms`: `compression: gzip`.

    The policy does not compress:

    - bodies that are compressed already, partial responses (206), small bodies, and media types that are not listed,
    - responses with `Cache-Control: no-transform`,
    - event streams, because their events would wait in the encoder.

    For compressed responses it adds `Vary: Accept-Encoding`, makes a strong `ETag` weak (also in a 304), and removes
    the digests of the plain body (`Content-Digest`, `Repr-Digest`).

    Switch it off on routes whose pages mix secrets with text that an attacker can choose: over TLS, the compressed size
    can then reveal the secret (BREACH).

    Example:
        ```yaml
        compression:
          algorithms: [br, gzip]
          min_size: 4KB
          types: [application/json, "application/*+json", "text/*"]
        ```
    """

    short = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

    algorithms: Annotated[
        tuple[Literal["zstd", "br", "gzip"], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
        AfterValidator(_distinct),
        Field(min_length=1),
    ] = ("zstd", "br", "gzip")
    """Algorithms to use, in order of preference. The order decides if the client likes several equally."""
    min_size: ByteSize = 1024
    """Bodies smaller than this are not compressed, if their size is known in advance."""
    types: MediaTypes = (
        "text/*",
        "application/json",
        "application/*+json",
        "application/javascript",
        "application/xml",
        "application/*+xml",
        "application/wasm",
        "image/svg+xml",
    )
    """Media types to compress."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CompressionFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"algorithms": value} if isinstance(value, str | list | tuple) else value
