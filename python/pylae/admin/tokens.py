"""Tokens of the admin API: who has which scopes, for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import AfterValidator, Field

from pylae.access import scopes, token
from pylae.access.scopes import CONFIGURE, READ
from pylae.access.token import MOST_INSTANCES, MOST_NETWORKS, Token
from pylae.admin.body import NUMBER, Body
from pylae.admin.caller import caller_of
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "tokens"

LONGEST = timedelta(days=366)
"""How long a token may last."""
LONGEST_OVERLAP = timedelta(days=7)


def _lifetime(span: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= span <= LONGEST:
        raise ValueError(f"a token lasts for at least 1 second and at most {LONGEST.days} days")
    return span


def _overlap(span: timedelta) -> timedelta:
    if span > LONGEST_OVERLAP:
        raise ValueError(f"the secret before stays valid for at most {LONGEST_OVERLAP.days} days")
    return span


_Lifetime = Annotated[Duration, AfterValidator(_lifetime)]
AWAY = "The store does not answer, so nothing is changed. Tokens are valid as they were last known."
TokenName = Annotated[str, Path(description="Name of the token.", max_length=64)]
_NAME = "has 1 to 64 letters, digits and . _ @ -, begins with a letter or digit, and is neither admin nor local"
_SCOPE = "a scope is read, operate, configure or register:SERVICE"


def _name(text: str) -> str:
    if not token.is_name(text):
        raise ValueError(f"the name of a token {_NAME}")
    return text


def _scope(text: str) -> str:
    if not scopes.is_scope(text):
        raise ValueError(_SCOPE)
    return text


def _network(text: str) -> str:
    try:
        return token.network(text)
    except ValueError:
        raise ValueError("an address or network is written like 10.0.0.7, 10.0.0.0/8 or fd00::/8") from None


class Described(Body):
    """A token, without its secret."""

    id: str
    """What tells it apart from earlier tokens of the same name."""
    name: str
    """Name of the token."""
    scopes: list[str]
    """What it allows."""
    state: Literal["valid", "expired", "revoked"]
    """Whether it is accepted, and if not, why not."""
    created: datetime
    """When it was made."""
    expires: datetime
    """When it ends."""
    by: str
    """Who made it."""
    addresses: list[str]
    """Networks of the instances that it may register. Empty: only at the address of the caller."""
    max_instances: int
    """How many instances of a service it may have registered."""
    rotating: datetime | None
    """Until when the secret before the last rotation is valid; null if none is."""
    revoked: datetime | None
    """When it was revoked; null if it was not."""
    last_used: datetime | None
    """The minute in which this node has last seen it; null if it has not since its start."""


class Tokens(Body):
    """All tokens, also those that are over and not forgotten yet."""

    tokens: list[Described]
    """The tokens, by name."""


class Wanted(Body):
    """A token to make."""

    name: Annotated[str, Field(max_length=64), AfterValidator(_name)]
    """Name of the token, which no other valid one has."""
    scopes: Annotated[list[Annotated[str, AfterValidator(_scope)]], Field(min_length=1, max_length=scopes.MOST)]
    """What it allows: `read`, `operate`, `configure`, `register:SERVICE`. Only what the caller may do."""
    expires: _Lifetime = timedelta(days=90)
    """How long it lasts, at most 366 days."""
    addresses: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=MOST_NETWORKS)] = []
    """Networks of the instances that it may register. Without them, an instance registers itself: it must be at the
    address that the call comes from."""
    max_instances: Annotated[int, Field(ge=1, le=MOST_INSTANCES), NUMBER] = 16
    """How many instances of a service it may have registered."""


class Rotation(Body):
    """How a token gets another secret."""

    overlap: Annotated[Wait, AfterValidator(_overlap)] = timedelta(hours=1)
    """How long the secret before stays valid."""
    expires: _Lifetime | None = None
    """How long the token lasts from now. The default is as long as it was made to last."""


class Issued(Body):
    """A token with its secret, which is shown only here."""

    secret: str
    """What clients present: `Authorization: Bearer SECRET`."""
    token: Described
    """The token."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/tokens")
    tokens = runtime.access.tokens
    taken = {409: "A valid token has this name, or there are too many tokens."}
    missing = {404: "No valid token has this name."}
    changed = {
        403: "The caller lacks the scope, or the token could do more than the caller, or for longer.",
        503: AWAY,
    }

    def described(one: Token) -> Described:
        now = datetime.now(UTC).timestamp()
        until = max((secret.until for secret in one.secrets if secret.until is not None), default=0.0)
        return Described(
            id=one.id,
            name=one.name,
            scopes=sorted(one.scopes),
            state=_state(one, now),
            created=_time(one.created),
            expires=_time(one.expires),
            by=one.by,
            addresses=list(one.networks),
            max_instances=one.max_instances,
            rotating=_time(until) if until > now else None,
            revoked=None if one.revoked is None else _time(one.revoked),
            last_used=None if (used := tokens.last_used(one.id)) is None else _time(used),
        )

    @topic.get("", responses=refusals({503: AWAY}))
    @needs(READ)
    def list_tokens() -> Tokens:
        """Lists the tokens. Secrets are not kept, so they cannot be listed."""
        return Tokens(tokens=[described(one) for one in tokens.listed()])

    @topic.post("", status_code=201, responses=refusals(taken | changed))
    @needs(CONFIGURE, audited=("name", "scopes", "expires", "addresses", "max_instances"))
    def create_token(wanted: Wanted, request: Request) -> Issued:
        """Makes a token. Its secret is in the answer, and nowhere else."""
        caller, now = caller_of(request), datetime.now(UTC).timestamp()
        given = Token(
            id="",
            name=wanted.name,
            number=1,
            scopes=frozenset(wanted.scopes),
            secrets=(),
            created=now,
            expires=now + wanted.expires.total_seconds(),
            by=caller.name,
            networks=tuple(dict.fromkeys(wanted.addresses)),
            max_instances=wanted.max_instances,
        )
        made, secret = tokens.create(given, caller.bearer)
        return Issued(secret=secret, token=described(made))

    @topic.post("/{name}/rotate", responses=refusals(missing | changed))
    @needs(CONFIGURE, audited=("overlap", "expires"))
    def rotate_token(name: TokenName, how: Rotation, request: Request) -> Issued:
        """Gives a token another secret, which is in the answer. The one before stays valid for a while."""
        lifetime = None if how.expires is None else how.expires.total_seconds()
        made, secret = tokens.rotate(name, how.overlap.total_seconds(), lifetime, caller_of(request).bearer)
        return Issued(secret=secret, token=described(made))

    @topic.delete("/{name}", responses=refusals(missing | changed))
    @needs(CONFIGURE)
    def revoke_token(name: TokenName) -> Described:
        """Ends a token at once, on all nodes within two seconds. Its requests that are under way are cut off."""
        return described(tokens.revoke(name))

    return topic


def _state(one: Token, now: float) -> Literal["valid", "expired", "revoked"]:
    if one.revoked is not None:
        return "revoked"
    return "valid" if one.lives(now) else "expired"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
