"""Permissions by path and method, as a middleware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylae.config.document.sources import calling
from pylae.config.models.route import Route
from pylae.errors import ConfigError, HTTPError, Problem
from pylae.primitives.authentication import AuthenticationService
from pylae.primitives.router import Router

__all__ = ["AuthorizationMiddleware"]


class AuthorizationMiddleware:
    """Refuses requests whose user lacks a permission: `gateway.add_middleware(AuthorizationMiddleware(service))`.

    A refused request gets 401 or 403, as from the gateway itself. An early middleware runs before the gateway has
    authenticated the user, so it asks `auth_service` for the user of the token. Where the route requires a user, the
    gateway authenticates the request again, so revoked tokens get no further.

    If a permission belongs to a route, set it there instead: `Route(permissions=…)`. Then the path is matched only
    once.
    """

    def __init__(self, auth_service: AuthenticationService) -> None:
        self.auth_service = auth_service
        self._routes: list[Route] = []
        self._permissions: list[str] = []
        self._router = Router([])

    def add_route_permission(self, pattern: str, method: str, permission: str) -> None:
        """Requires a permission for requests that match pattern and method. The first match counts.

        Args:
            pattern: A regular expression that must match from the start of the path, as in a route.
            method: One method, or several as `A|B`.
            permission: The permission.

        Raises ConfigError.
        """
        place = calling()
        route = Route(name=str(len(self._routes)), pattern=pattern, method=method, service="none")
        try:
            self._router = Router([*self._routes, route])
        except ConfigError as error:
            raise ConfigError(
                Problem(*place, None, "pattern", one.message, one.hint) for one in error.problems
            ) from None
        self._routes.append(route)
        self._permissions.append(permission)

    async def __call__(self, request: Any) -> Any:
        """Returns the request. Raises HTTPError: 401 without a user, 403 without the permission."""
        try:
            found = self._router.find(request["method"], request["path"], {"Host": "localhost"})
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        if found.name is not None:
            await self._require(request, self._permissions[int(found.name)])
        return request

    async def authorize(self, request: Any, route: Route) -> Any:
        """Checks a request whose route is known, by the pattern and `auth_required` of that route.

        A user is always required, whatever the permissions. `request` may be a dict.
        """
        if route.auth_required:
            await self._require(request, self._of_pattern(route.pattern, request["method"]))
        return request

    def _of_pattern(self, pattern: str | None, method: str) -> str | None:
        for route, permission in zip(self._routes, self._permissions, strict=True):
            if route.pattern == pattern and method in route.method:
                return permission
        return None

    async def _require(self, request: Any, permission: str | None) -> None:
        user: Mapping[str, Any] | Any = request.get("user")
        if user is None:
            outcome = await self.auth_service.authenticate(request)
            if not outcome["success"]:
                raise HTTPError(401, outcome["error"], {"WWW-Authenticate": "Bearer"})
            user = outcome["user"]
        if permission is not None and not self.auth_service.check_permission(user, permission):
            raise HTTPError(403, "the user lacks a required permission")
