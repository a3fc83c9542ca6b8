"""Asks a service about each request. The data plane remembers its verdicts."""

from __future__ import annotations

import re
import time
from http.client import HTTPMessage
from typing import Any

from pylae.config.models.authenticators.forward_auth import ForwardAuth as Settings
from pylae.engine import Known, Request, Response, User
from pylae.errors import HTTPError
from pylae.identity.asking import Asking
from pylae.identity.claims import made_user
from pylae.identity.client import Fields
from pylae.identity.failures import AWAY, AnswerError, AwayError
from pylae.identity.flights import Flights
from pylae.registry.client import ApiError, Reply

_DEFAULT = ("authorization", "cookie")
_REFUSALS = (401, 403)
_REDIRECTS = (301, 302, 303, 307, 308)
_NUMBER = re.compile(r'"?([0-9]{1,10})"?')
Verdict = User | Response | Known | None


class ForwardAuth(Asking[Settings]):
    """An authenticator that asks one service."""

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(settings, name)
        self._flights: Flights[Fields, tuple[object, Verdict | HTTPError]] = Flights()
        names = _DEFAULT if settings.forward_headers is None else settings.forward_headers
        if settings.key is not None:
            parts = (part.partition(":") for part in settings.key)
            names = tuple(name if kind == "header" else "cookie" for kind, _, name in parts)
        self._shown = tuple(dict.fromkeys(names))

    async def authenticate(self, request: Request) -> Verdict:
        """Says who sends a request, or answers it as the service does. Raises HTTPError (503) if it cannot be asked."""
        credentials = [(name, value) for name in self._shown for value in request.headers.get_all(name)]
        fields = (*self._target(request), *credentials)
        if self._settings.key is not None and credentials:
            # The service sees these fields and nothing else, so who has the same gets the same verdict.
            verdict = await self._together(fields)
        else:
            verdict = await self._ask(fields)
        if isinstance(verdict, HTTPError):
            raise HTTPError(verdict.status, verdict.detail, verdict.headers)
        return verdict

    def _target(self, request: Request) -> list[tuple[str, str]]:
        settings = self._settings
        fields: list[tuple[str, str]] = []
        if settings.key_path:
            url = request.url
            query = f"?{request.query}" if "?" in str(url) else ""
            fields = [("X-Forwarded-Method", request.method), ("X-Forwarded-Uri", request.raw_path + query)]
            if url.scheme:
                fields += [("X-Forwarded-Proto", url.scheme), ("X-Forwarded-Host", url.netloc)]
        if settings.key is None:
            fields.append(("X-Forwarded-For", request.client_ip))
        return fields

    async def _together(self, fields: Fields) -> Verdict | HTTPError:
        own = object()

        async def ask() -> tuple[object, Verdict | HTTPError]:
            return own, await self._ask(fields)

        asked_by, verdict = await self._flights.run(fields, ask)
        if asked_by is not own and isinstance(verdict, Response):
            # What sends one client elsewhere may have cookies for that client alone.
            return await self._ask(fields)
        return verdict

    async def _ask(self, fields: Fields) -> Verdict | HTTPError:
        try:
            self._outage.admit()
        except HTTPError as away:
            return away
        settings, asked = self._settings, time.time()
        try:
            client = self._client(settings.url)
            reply = await client.call("GET", fields, patience=self._patience, most=settings.max_size)
            verdict = self._verdict(reply)
        except (ApiError, AnswerError) as error:
            return self._outage.failed(error)
        self._outage.succeeded()
        kept = 0.0 if settings.cache is None else lifetime(reply.fields, settings.cache.total_seconds())
        if isinstance(verdict, Response) and (reply.status not in _REFUSALS or not kept):
            return verdict
        return Known(verdict, asked + kept if kept else 0.0) if settings.cache is not None else verdict

    def _verdict(self, reply: Reply) -> User | Response | None:
        if 200 <= reply.status < 300:
            return self._user(reply.fields)
        if reply.status in _REFUSALS:
            return _response(reply, ("content-type", "www-authenticate"), reply.body)
        if reply.status in _REDIRECTS and _one(reply.fields, "location"):
            return _response(reply, ("location", "set-cookie"), b"")
        why = f"status {reply.status}"
        raise AwayError(why) if reply.status in AWAY else AnswerError(why)

    def _user(self, fields: HTTPMessage) -> User | None:
        names = self._settings.headers

        def said(name: str | None) -> str:
            return _one(fields, name) if name else ""

        id_ = said(names.id) or self._settings.default_user
        if not id_:
            return None
        roles = [role.strip() for role in said(names.role).split(",") if role.strip()]
        permissions = said(names.permissions).replace(",", " ").split()
        claims: dict[str, Any] = {
            name: ", ".join(_texts(fields, name)) for name in self._settings.copy_headers if name in fields
        }
        return made_user(id_, said(names.email), roles, permissions, claims)


def lifetime(fields: HTTPMessage, most: float) -> float:
    """Returns for how many seconds a verdict may be remembered, at most `most` (RFC 9111, sections 4.2 and 5.2.2).

    The gateway is no shared cache here: `private` is ok, and what says nothing may be remembered.
    """
    fresh: float | None = None
    for directive in ",".join(fields.get_all("cache-control", [])).split(","):
        name, _, value = directive.strip().partition("=")
        match name.strip().lower():
            case "no-store" | "no-cache":
                return 0.0
            case "max-age":
                # What is no number is stale at once (RFC 9111, section 4.2.1).
                number = _NUMBER.fullmatch(value.strip())
                age = float(number[1]) if number else 0.0
                fresh = age if fresh is None else min(fresh, age)
    if fresh is None:
        return most
    ages = fields.get_all("age", ["0"])
    number = _NUMBER.fullmatch(ages[0].strip()) if len(ages) == 1 else None
    return min(most, max(0.0, fresh - float(number[1]))) if number else 0.0


def _texts(fields: HTTPMessage, name: str) -> list[str]:
    try:
        return [value.encode("latin-1").decode("utf-8") for value in fields.get_all(name, [])]
    except UnicodeError:
        raise AnswerError(f"{name} is not UTF-8") from None


def _one(fields: HTTPMessage, name: str) -> str:
    values = _texts(fields, name)
    if len(values) > 1:
        raise AnswerError(f"{name} is given twice")
    return values[0] if values else ""


def _response(reply: Reply, names: tuple[str, ...], body: bytes) -> Response:
    response = Response(body, status_code=reply.status)
    for name in names:
        for value in _texts(reply.fields, name):
            response.headers.append(name, value)
    # Nobody between the gateway and the client may keep it.
    response.headers["cache-control"] = "no-store"
    return response
