"""The base of all kinds of authenticators, and common types of their settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from pylae.config.document.nodes import Finding
from pylae.config.models.base import Settings, refusal
from pylae.config.models.tls import ListenerTls
from pylae.config.origin import Origin, PlanPart

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_IDENTITY = re.compile(r"[^\x00-\x20\x7f,]([^\x00-\x1f\x7f,]*[^\x00-\x20\x7f,])?")


class AuthenticatorKind(Settings):
    """Base class of the kinds of authenticators.

    The field of `AuthConfig` decides where its settings are: a single one has the name of the field, several have their
    own names.
    """

    def plan(self) -> dict[str, Any]:
        """Returns its part of the plan: its kind, and the fields of `Config` of the same kind in Rust.

        Values whose path in the settings differs from that in the plan are a `PlanPart`.
        """
        raise NotImplementedError

    @property
    def conceals(self) -> bool:
        """Whether it keeps credentials from instances: it has `forward_credentials`, which is false."""
        return getattr(self, "forward_credentials", True) is False

    def mistakes(self, _listeners: Sequence[ListenerTls | None], /) -> Iterator[Finding]:
        """Yields settings that conflict with others, such as the `tls` of the listeners. Paths begin at this
        authenticator.
        """
        yield from ()

    def weaknesses(self) -> Iterator[Finding]:
        """Yields settings that work but are probably wrong or insecure. Paths begin at this authenticator."""
        yield from ()


def by_name(name: str, plan: Mapping[str, Any]) -> PlanPart:
    """Returns an item of a list in the plan whose settings are under its name in the configuration."""
    return PlanPart({"id": name, **plan}, Origin((name,)))


def one_or_more(value: Any) -> Any:
    """Returns a single value as a list."""
    return [value] if isinstance(value, str | SecretStr | dict | Settings) else value


def word(text: str) -> str:
    """Checks that a text can be the name of an authenticator, and a scheme in `WWW-Authenticate`."""
    if not _NAME.fullmatch(text):
        raise refusal("must be a letter and then letters, digits, `_` or `-`")
    return text


def _identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise refusal("must not have control characters, commas, or spaces at its ends")
    return text


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]
"""A list of texts, or a single one."""
Identity = Annotated[str, AfterValidator(_identity), Field(max_length=256)]
"""A text about the user that instances are told."""
AuthenticatorName = Annotated[str, AfterValidator(word)]
"""Name by which routes choose an authenticator."""
