"""What every kind of authenticator has in common, and the words of their settings."""

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
    """A kind of authenticator: the base of what stands under `auth`.

    Where its settings stand follows from the field of `AuthConfig` that holds them: one of a kind is called as the
    field, several have names of their own.
    """

    def plan(self) -> dict[str, Any]:
        """Its part of the plan: its kind, and what `Config` of the same kind in Rust has.

        What comes from a path of the settings that is not the same as in the plan is a `PlanPart`.
        """
        raise NotImplementedError

    @property
    def conceals(self) -> bool:
        """Whether it keeps credentials from instances. It does where `forward_credentials` is there and false."""
        return getattr(self, "forward_credentials", True) is False

    def mistakes(self, _listeners: Sequence[ListenerTls | None], /) -> Iterator[Finding]:
        """What is wrong with it beside other settings, such as the `tls` of each listener. Paths begin at it."""
        yield from ()

    def weaknesses(self) -> Iterator[Finding]:
        """What works and is doubtful. Paths begin at it."""
        yield from ()


def by_name(name: str, plan: Mapping[str, Any]) -> PlanPart:
    """One of a list of the plan, which stands under its name in the configuration."""
    return PlanPart({"id": name, **plan}, Origin((name,)))


def one_or_more(value: Any) -> Any:
    """A value alone as a list of one."""
    return [value] if isinstance(value, str | SecretStr | dict | Settings) else value


def word(text: str) -> str:
    """A text that can be the name of an authenticator, and a scheme in `WWW-Authenticate`."""
    if not _NAME.fullmatch(text):
        raise refusal("must be a letter and then letters, digits, `_` or `-`")
    return text


def _identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise refusal("must not have control characters, commas, or spaces at its ends")
    return text


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]
"""Texts, of which one may stand alone."""
Identity = Annotated[str, AfterValidator(_identity), Field(max_length=256)]
"""What instances are told about a user."""
AuthenticatorName = Annotated[str, AfterValidator(word)]
"""Name by which routes choose an authenticator."""
