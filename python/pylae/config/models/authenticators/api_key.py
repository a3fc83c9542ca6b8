"""API keys."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.authenticators.kind import AuthenticatorKind, Identity, Words, by_name, one_or_more
from pylae.config.models.base import Settings, refusal
from pylae.config.models.service import field_name

if TYPE_CHECKING:
    from pylae.settings.fields import ApiKeyFields, ConsumerFields

_HASH = re.compile(r"[0-9a-fA-F]{64}")


def _key_hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        hint = "the SHA-256 of the key in hex: `printf %s KEY | sha256sum`; the key itself does not belong here"
        raise refusal("is not a SHA-256 in hex", hint, secret=True)
    return text.lower()


class Consumer(Settings):
    """A program that authenticates with a key. A hash, or a list of hashes, is short for `keys`."""

    short = {"type": ["string", "array"]}

    keys: Annotated[
        tuple[Annotated[str, AfterValidator(_key_hash)], ...],
        BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """SHA-256 of each key, in hex. Give several while you replace a key."""
    email: Identity | Literal[""] = ""
    """E-mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """Permissions of the consumer."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConsumerFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"keys": value} if isinstance(value, str | list | tuple) else value


def _parameter(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,100}", text):
        raise refusal("must be 1 to 100 visible ASCII characters")
    return text


class ApiKey(AuthenticatorKind):
    """API keys in a request field or a query parameter. The configuration contains only their hashes."""

    header: Annotated[str, AfterValidator(field_name)] | Literal[False] | None = "X-API-Key"
    """Request field with the key; `false` for none."""
    query: Annotated[str, AfterValidator(_parameter)] | None = None
    """Query parameter with the key. Off by default, because URLs end up in logs."""
    consumers: Annotated[dict[Identity, Consumer], Field(min_length=1)]
    """Consumers by name. The name is the user's id."""
    forward_credentials: bool = False
    """Send the key to instances, on all routes."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ApiKeyFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> ApiKey:
        if not self.header and not self.query:
            raise refusal("needs `header` or `query`")
        hashes: dict[str, str] = {}
        for name, consumer in self.consumers.items():
            for key in consumer.keys:
                if hashes.setdefault(key, name) != name:
                    raise refusal(f"{hashes[key]} and {name} have the same key")
        return self

    def plan(self) -> dict[str, Any]:
        consumers = [by_name(name, one.model_dump(mode="json")) for name, one in self.consumers.items()]
        return {
            "kind": "api_key",
            "header": self.header or None,
            "query": self.query,
            "consumers": consumers,
            "forward_credentials": self.forward_credentials,
        }


def key_hash(key: str) -> str:
    """Returns the hash of an API key for the configuration."""
    return hashlib.sha256(key.encode()).hexdigest()
