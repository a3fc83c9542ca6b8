"""What a file of expected decisions holds, and how it is read."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, ValidationError, model_validator

from pylae.config.checks.explain import problems_of
from pylae.config.document.files import read_text
from pylae.config.document.load import Document, parse
from pylae.config.document.sources import DocumentSources
from pylae.config.models.base import Settings, refusal, split_words
from pylae.errors import ConfigError

MOST_REQUESTS = 10_000
"""The most requests of one file."""
MOST_TIMES = 10_000
"""How often a request may be sent."""


def _id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise refusal("must be an IP address") from None


def _text(value: Any) -> Any:
    """Accepts numbers and booleans as they are written in a field."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


FieldValue = Annotated[str, BeforeValidator(_text)]
Fields = dict[Annotated[str, Field(min_length=1)], FieldValue]
ExpectedFields = dict[Annotated[str, Field(min_length=1)], FieldValue | None]


class GivenUser(Settings):
    """The user whom authentication finds. A text or a number is short for `id`."""

    short = {"type": ["string", "integer"]}

    id: Annotated[StrictStr, BeforeValidator(_id)]
    """The user's id."""
    email: str = ""
    """The user's mail address."""
    role: Annotated[tuple[str, ...], BeforeValidator(split_words)] = ()
    """The user's role: one, `A|B`, or a list."""
    permissions: Annotated[tuple[str, ...], BeforeValidator(split_words)] = ()
    """The user's permissions."""
    claims: dict[str, Any] = {}
    """Further claims."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str | int) and not isinstance(value, bool) else value


class Expected(Settings):
    """What is expected. A number is short for `status`."""

    short = {"type": "integer"}

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Status of the gateway's own answer."""
    route: str | None = None
    """Name of the route."""
    service: str | None = None
    """Name of the service that gets the request."""
    by: str | None = None
    """The policy that answers or refuses."""
    path: str | None = None
    """The path that the service gets."""
    fields: ExpectedFields = {}
    """Fields of the answer that the gateway sets, by name; `null` for one that it does not set."""
    sent: ExpectedFields = {}
    """Fields that the gateway sends to the service besides those of the client, by name; `null` for none."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"status": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _some(self) -> Expected:
        if not any(getattr(self, name) not in (None, {}) for name in type(self).model_fields):
            raise refusal("must expect something", "e.g. 403, or {service: orders}")
        if self.status is not None and (self.service is not None or self.path is not None or self.sent):
            raise refusal("`status` is that of the gateway's own answer, for which no service is asked")
        return self


class ExpectedRequest(Settings):
    """A request and what is expected for it."""

    name: str | None = None
    """What the request shows, for reports. Without it, method and URL."""
    request: StrictStr
    """Method and URL, such as `GET /api/users?full=1` or `GET https://shop.example/`."""
    headers: Fields = {}
    """Fields of the request by name."""
    client: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    """Address of the client."""
    user: GivenUser | None = None
    """The user whom authentication finds, without a credential. On a route that asks no authenticator there is none."""
    token: dict[str, Any] | None = None
    """Claims of a token that is sent, signed with `auth.jwt.secret`. `exp`, `iss` and `aud` are added if they are not
    given."""
    body: str = ""
    """The request body."""
    times: Annotated[int, Field(ge=1, le=MOST_TIMES)] = 1
    """How often the request is sent. What is decided for the last time counts."""
    expect: Expected
    """What is expected."""

    @model_validator(mode="after")
    def _fits(self) -> ExpectedRequest:
        words = self.request.split()
        if len(words) != 2:
            raise refusal("`request` must be a method and a URL, such as `GET /api/users`")
        if self.user is not None and self.token is not None:
            raise refusal("has a `user` and a `token`; only one of them can be given")
        return self

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.name or self.request


class ExpectedTable(Settings):
    """A file of requests with what is expected for them."""

    config: str | None = None
    """The configuration, relative to this file."""
    environment: dict[str, FieldValue] = {}
    """Environment variables that the configuration is read with."""
    requests: Annotated[tuple[ExpectedRequest, ...], Field(min_length=1, max_length=MOST_REQUESTS)]
    """The requests. Each is decided by itself, with limits that nobody has used yet."""


def read(path: Path) -> ExpectedTable:
    """Reads a file. Raises ConfigError with every problem."""
    document: Document = parse(read_text(path, {}), str(path), {})
    sources = DocumentSources(document)
    try:
        return ExpectedTable.model_validate(document.root.plain())
    except ValidationError as error:
        raise ConfigError(problems_of(error, sources, ExpectedTable)) from None
