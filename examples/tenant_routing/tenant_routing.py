"""Sends each tenant's requests to the tenant's own service, by a claim of the token."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pylae import Plugin, Request, Response


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str = "tenant"
    """The claim that names the tenant."""
    services: dict[str, str]
    """Services by tenant; a tenant that is not named stays with the service of the route."""
    blocked: frozenset[str] = frozenset()
    """Tenants that are refused."""


class TenantRouting(Plugin):
    """Chooses the service. The token was verified before; its claims can be believed."""

    Settings = Settings

    def on_request(self, request: Request) -> Response | None:
        """403 without a tenant."""
        tenant = request.user.claims.get(self.settings.claim) if request.user else None
        if not isinstance(tenant, str) or tenant in self.settings.blocked:
            return Response.json({"error": "no tenant"}, status=403)
        if tenant in self.settings.services:
            request.service = self.settings.services[tenant]
        request.headers["X-Tenant"] = tenant
        return None
