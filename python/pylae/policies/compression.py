"""Smaller responses for clients that understand them."""

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
        raise refusal("names one twice")
    return value


MediaTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_media_type)], ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]


class Compression(Settings):
    """Compresses responses whose client accepts it. Names alone are short for `algorithms`: `compression: gzip`.

    Left alone are bodies that are compressed already, parts (206), small ones, media types not listed, answers with
    `Cache-Control: no-transform`, and event streams, whose events would wait in the encoder. A strong `ETag` becomes a
    weak one, in a 304 that stands for a compressed answer too, and `Vary: Accept-Encoding` is added. Digests of the
    plain body (`Content-Digest`, `Repr-Digest`) are taken out. Where a page mixes secrets with what an attacker can put
    into it, compression over TLS can give the secret away (BREACH): switch it off on such routes.

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
    """Content codings, the preferred one first; it decides where the client likes several equally."""
    min_size: ByteSize = 1024
    """Bodies that are known to be smaller are left alone."""
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
    """Media types that are compressed."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CompressionFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"algorithms": value} if isinstance(value, str | list | tuple) else value
