"""Logins by OpenID Connect: what is rare about them. What each request needs is in the data plane.

`Oidc.authenticate` is called in three situations. `request.asked_for` tells them apart; only the gateway sets it.

`check`
    The request has a session cookie, which the data plane has opened: it is sealed by one of the secrets, not past its
    end (`x`) and not revoked. But it is time to look at the session (`n` has passed), or the cookie says nothing of the
    user (`f`). Return `Known(user, until)`: the data plane takes this cookie for the user until then, at most until
    `x`, unless the answer has fields (`request["response_headers"]`, such as `Set-Cookie`): then it asks again for the
    next request with this cookie. None: the session is over; the request goes on as one without a session.
`login`
    A browser navigates to a route that requires a user, and nobody is known. Return the Response that begins a login.
    None: 401.
`None`
    `request.path` is one of the authenticator's own paths. Return a Response.

HTTPError ends the request as it says, in all of them; 401 with the challenges of the route, unless it has its own.

The session cookie is called `settings.cookie_name(request.url.scheme)`. The data plane never sends a cookie of this
name to an instance, nor one whose name begins with this name and `-attempt-`. It reads these members of the sealed JSON
object, under the purpose `session NAME`, and no others:

`i` session id, for revocations of `jti`; at most 64 characters of base64url
`b` `x` `n` begun, end, next check: whole seconds since the Unix epoch
`u` `e` `r` `p` `c` id, e-mail address, role, permissions and claims of the user; all but `u` may be missing
`f` true: the user is not in the cookie; ask at once

A cookie has at most 1024 bytes (`MAX_COOKIE`); a longer one counts as none, and so do two of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pylae.config.models.authenticators.oidc import Oidc as OidcSettings
from pylae.errors import HTTPError
from pylae.identity.surroundings import Surroundings

if TYPE_CHECKING:
    from pylae.identity.login.front import Front


class Oidc:
    """The authenticator with these settings. It serves all workers."""

    def __init__(self, settings: OidcSettings, name: str) -> None:
        self.settings, self.name = settings, name
        self._front: Front | None = None

    def attach(self, surroundings: Surroundings) -> None:
        """Gives it the gateway that it runs in, before it is asked."""
        # Only gateways with logins pay for what they need.
        from pylae.identity.login.front import Front

        if self._front is None or self._front.surroundings != surroundings:
            self._front = Front(self.settings, surroundings)
        surroundings.ended.want()

    async def authenticate(self, request: Any) -> Any:
        """Says whose session it is, begins a login, or answers at one of its own paths."""
        if self._front is None:
            raise HTTPError(503, "logins are not possible now")
        return await self._front.asked(request)
