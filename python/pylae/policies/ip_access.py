"""Access by IP address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import BeforeValidator, model_validator

from pylae.config.models.base import Network, Settings, refusal

if TYPE_CHECKING:
    from pylae.settings.fields import IpAccessFields


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Networks = Annotated[tuple[Network, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]


class IpAccess(Settings):
    """Answers 403 to clients whose IP address is not allowed.

    The address is the peer of the connection, or the one that a trusted proxy reports (`trusted_proxies`). Long lists
    stay fast: a list of a thousand networks costs as much as a short one.

    Example:
        ```yaml
        trusted_proxies: [10.0.0.1]
        policies:
          ip_access:
            allow: [10.0.0.0/8, "2001:db8::/32"]
            deny: [10.66.0.0/16]
        ```
    """

    # No short form: one address could be meant either way.
    main = ("allow", "deny")

    allow: Networks = ()
    """Addresses and networks that are allowed. If empty, all are allowed except those in `deny`."""
    deny: Networks = ()
    """Addresses and networks that are denied, even if `allow` contains them."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[IpAccessFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> IpAccess:
        if not self.allow and not self.deny:
            raise refusal("needs `allow` or `deny`", "`ip_access: false` switches it off")
        return self
