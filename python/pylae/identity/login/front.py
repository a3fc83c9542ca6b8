"""What the authenticator `oidc` answers: to the question whose session it is, and at its own paths."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from pylae.engine import Known, NativeSealer, Response
from pylae.errors import HTTPError, StoreError
from pylae.identity.cookie_secret import cookie_secret
from pylae.identity.login import attempt as attempts
from pylae.identity.login import pages
from pylae.identity.login import session as session_of
from pylae.identity.login.cookies import cookie, deleted
from pylae.identity.login.failures import LOGIN, IdentityError, ProviderError
from pylae.identity.login.flow import Flow
from pylae.identity.login.logout import Logout, is_of_same_site
from pylae.identity.login.members import Members
from pylae.identity.login.provider import Provider
from pylae.identity.login.records import Records
from pylae.identity.login.returning import HOME, MOST, path_or_home
from pylae.identity.login.sessions import Sessions

if TYPE_CHECKING:
    from pylae.config.models.authenticators.oidc import Oidc
    from pylae.engine import Request
    from pylae.identity.login.session import Session, Shown
    from pylae.identity.surroundings import Surroundings

log = logging.getLogger("pylae.auth")

AGAIN = 30
"""Seconds until a session is looked up again for which the store was not there."""
PATIENCE = 12.0
"""Seconds that a request waits for the store and the provider together."""
_AWAY = 5.0
"""Seconds for which no session is looked up after that has failed."""
_GET = ("GET", "HEAD")


class Front:
    """The authenticator `oidc` with these settings, in a running gateway."""

    def __init__(self, settings: Oidc, surroundings: Surroundings) -> None:
        """Raises ConfigError if the secret of the cookies cannot be read."""
        self.surroundings = surroundings
        self._settings, self._name = settings, settings.name
        secrets = [one.get_secret_value() for one in settings.cookie_secret or ()] or [cookie_secret(create=True) or ""]
        self._sealer = sealer = NativeSealer([one.encode() for one in secrets])
        provider = Provider(settings, surroundings.configuration)
        records = Records(surroundings.kept, sealer, settings.name)
        members = Members(settings, provider)
        self._sessions = Sessions(settings, provider, records, members, surroundings)
        self._flow = Flow(settings, sealer, provider, records, members)
        self._logout = Logout(settings, provider, records, self._sessions)
        self._away_until = 0.0
        self._paths: Mapping[str, tuple[tuple[str, ...], Callable[[Request], Awaitable[Response]]]] = {
            f"{settings.path}/login": (_GET, self._login_here),
            f"{settings.path}/callback": (("GET",), self._callback),
            f"{settings.path}/logout": (("GET", "POST"), self._log_out),
            f"{settings.path}/backchannel-logout": (("POST",), self._told),
            f"{settings.path}/session": (_GET, self._whose),
        }

    async def asked(self, request: Request) -> Any:
        """Answers as `pylae.identity.oidc` says."""
        if request.asked_for == "check":
            return await self._check(request)
        if request.asked_for == "login":
            return await self._login(request, _target(request))
        methods, answer = self._paths[request.path]
        if request.method not in methods:
            raise HTTPError(405, "this method is not possible here", headers={"Allow": ", ".join(methods)})
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer(request)
        except TimeoutError:
            self._sessions.has_failed(IdentityError("too_slow", request.path, 503), request.id)
            return pages.answer(request, 503, "this cannot be done now")

    def _origin(self, request: Request) -> str:
        return self._settings.public_url or f"{request.url.scheme}://{request.url.netloc}"

    def _is_secure(self, request: Request) -> bool:
        return self._origin(request).startswith("https:")

    def _cookie(self, request: Request) -> str:
        return self._settings.cookie_name(request.url.scheme)

    def _shown(self, request: Request) -> Shown | None:
        """The session of the request's cookie, if it has one that is not past its end."""
        value = request.cookies.get(self._cookie(request))
        shown = session_of.opened(value, self._sealer, self._name) if value else None
        return shown if shown is not None and time.time() < shown.ends else None

    async def _check(self, request: Request) -> Known | None:
        """Whose session it is."""
        shown = self._shown(request)
        if shown is None:
            return None
        if time.monotonic() < self._away_until:
            return self._without_store(shown)
        try:
            async with asyncio.timeout(PATIENCE):
                checked = await self._sessions.check(shown.id)
        except (StoreError, TimeoutError) as error:
            self._away_until = time.monotonic() + _AWAY
            detail = str(error) or "it does not answer in time"
            self._sessions.has_failed(IdentityError("store_unavailable", detail), request.id)
            return self._without_store(shown)
        if checked is None:
            # A login that begins now sets a cookie of its own, in whose place this one would be.
            if not pages.accepts_html(request):
                request["response_headers"] = {"Set-Cookie": self._forgotten(request)}
            return None
        regular = checked.session.check(self._settings.idle.total_seconds())
        changed = shown.member is not None and shown.member != checked.session.member
        if changed or regular > max(shown.check, time.time()):
            request["response_headers"] = {"Set-Cookie": self._kept(request, checked.session, checked.check)}
        return Known(checked.session.member.user(), checked.check)

    def _without_store(self, shown: Shown) -> Known | None:
        """A session holds as far as its cookie says who it is of."""
        now = time.time()
        if self._sessions.idles_out(shown.check, now):
            return None
        if shown.member is None:
            raise HTTPError(503, "the session cannot be looked up now")
        return Known(shown.member.user(), min(now + AGAIN, shown.ends))

    def _kept(self, request: Request, session: Session, check: int) -> str:
        """What sets the cookie of a session."""
        name = self._cookie(request)
        value = session_of.sealed(session, check, name, self._sealer, self._name)
        life = max(0, session.ends - int(time.time()))
        return cookie(name, value, life=life, secure=self._is_secure(request), same_site=self._settings.same_site)

    def _forgotten(self, request: Request) -> str:
        """What deletes the cookie of a session."""
        secure = self._is_secure(request)
        return deleted(self._cookie(request), secure=secure, same_site=self._settings.same_site)

    async def _login_here(self, request: Request) -> Response:
        """Begins a login because of a link, which says where to return to."""
        given = parse_qs(request.query, keep_blank_values=True, max_num_fields=100).get("return_to", [])
        return await self._login(request, given[0] if len(given) == 1 else HOME)

    async def _login(self, request: Request, return_to: str) -> Response:
        returning = path_or_home(return_to, self._settings.path)
        try:
            if not request.url.netloc:
                raise IdentityError("host_missing")
            attempt, target = await self._flow.begin(self._origin(request), returning)
        except IdentityError as error:
            return self._failed(request, error, returning, [])
        name = self._cookie(request)
        secure, same_site = self._is_secure(request), self._attempts_same_site
        old = attempts.superfluous(request.cookies, name, self._sealer, self._name, time.time())
        made = attempts.sealed(attempt, self._sealer, self._name)
        cookies = [
            cookie(
                attempts.cookie_name(name, attempt.state),
                made,
                life=attempts.LIFE,
                secure=secure,
                same_site=same_site,
            ),
            *(deleted(one, secure=secure, same_site=same_site) for one in old),
        ]
        return pages.redirect(target, 302, [("Set-Cookie", one) for one in cookies])

    @property
    def _attempts_same_site(self) -> Any:
        # The provider's redirect comes from another site, but is a navigation: `strict` would hide the attempt from it.
        return "none" if self._settings.same_site == "none" else "lax"

    async def _callback(self, request: Request) -> Response:
        """Ends a login."""
        name, returning, gone = self._cookie(request), HOME, list[tuple[str, str]]()
        try:
            attempt, sent = self._flow.attempt(request.query, request.cookies, name)
            secure, same_site = self._is_secure(request), self._attempts_same_site
            used = deleted(attempts.cookie_name(name, attempt.state), secure=secure, same_site=same_site)
            returning, gone = attempt.return_to, [("Set-Cookie", used)]
            session = await self._flow.finish(self._origin(request), attempt, sent)
        except IdentityError as error:
            return self._failed(request, error, returning, gone)
        self.surroundings.figures.count("pylae_logins_total", self._name)
        check = session.check(self._settings.idle.total_seconds())
        fields = [("Set-Cookie", self._kept(request, session, check)), *gone]
        if self._settings.same_site == "strict":
            return pages.going_on(returning, fields)
        return pages.redirect(returning, 303, fields)

    def _failed(
        self, request: Request, error: IdentityError, returning: str, fields: list[tuple[str, str]]
    ) -> Response:
        """Says that the login has failed, and no more."""
        self._sessions.has_failed(error, request.id)
        title = "you have no access" if error.reason == "no_access" else LOGIN
        again = f"{self._settings.path}/login?{urlencode({'return_to': returning})}"
        return pages.answer(request, error.status, title, link=(again, "Log in again"), fields=fields)

    async def _log_out(self, request: Request) -> Response:
        """Ends the session of the browser, if its user wants that."""
        shown, secure = self._shown(request), self._is_secure(request)
        origin = self._origin(request)
        name = self._cookie(request)
        # The provider comes back here when it is done: then there is no session any more.
        if shown is None and name not in request.cookies:
            return pages.redirect(self._settings.logout_url, 303)
        if not is_of_same_site(request.method, request.headers, origin):
            return pages.confirm_logout(request.path)
        others = attempts.cookies_of(request.cookies, name)
        fields = [("Set-Cookie", self._forgotten(request))]
        fields += [("Set-Cookie", deleted(one, secure=secure, same_site=self._attempts_same_site)) for one in others]
        session = None
        try:
            if shown is not None:
                self.surroundings.ended.refuse(shown.id, shown.ends)
                found = await self._sessions.found(shown.id)
                session = found.session if found else None
            if session is not None:
                await self._logout.leave(session)
        except StoreError as error:
            self._sessions.has_failed(IdentityError("store_unavailable", str(error), 503), request.id)
            title = "you are logged out here, but other nodes could not be told"
            return pages.answer(request, 503, title, fields=fields)
        return pages.redirect(await self._logout.farewell(origin, session), 303, fields)

    async def _told(self, request: Request) -> Response:
        """Ends what the provider says has ended (OpenID Connect Back-Channel Logout 1.0, section 2.8)."""
        try:
            await self._logout.told(request.content)
        except ProviderError as error:
            return self._not_told(request, error, 503)
        except IdentityError as error:
            return self._not_told(request, error, 400)
        except StoreError as error:
            return self._not_told(request, IdentityError("store_unavailable", str(error)), 503)
        return Response(status=200, headers=[*pages.NO_STORE])

    def _not_told(self, request: Request, error: IdentityError, status: int) -> Response:
        self._sessions.has_failed(error, request.id)
        word = "temporarily_unavailable" if status == 503 else "invalid_request"
        text = json.dumps({"error": word, "error_description": "the logout has failed"})
        return Response(text, status, [*pages.NO_STORE], "application/json")

    async def _whose(self, request: Request) -> Response:
        """Says who is logged in, to pages of the gateway. Does not count as use of the session."""
        shown = self._shown(request)
        try:
            found = await self._sessions.found(shown.id) if shown is not None else None
        except StoreError as error:
            self._sessions.has_failed(IdentityError("store_unavailable", str(error), 503), request.id)
            return pages.answer(request, 503, "the session cannot be looked up now")
        if found is None:
            return pages.answer(request, 401, "nobody is logged in")
        member, session = found.session.member, found.session
        said = {"id": member.id, "email": member.email, "role": member.role, "permissions": list(member.permissions)}
        expires = int(min(session.ends, session.seen + self._settings.idle.total_seconds()))
        return Response(json.dumps({**said, "expires": expires}), 200, [*pages.NO_STORE], "application/json")


def _target(request: Request) -> str:
    """Path and query that a browser has asked for."""
    target = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return target if len(target) <= MOST else request.url.path
