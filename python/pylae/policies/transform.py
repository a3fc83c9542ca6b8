"""Changes fields of requests and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator

from pylae.config.models.base import Settings
from pylae.policies.cors import Names, field_name
from pylae.policies.security_headers import FieldText

if TYPE_CHECKING:
    from pylae.settings.fields import ChangesFields, TransformFields


def _texts(value: Any) -> Any:
    """Numbers as the texts that they are sent as."""
    if not isinstance(value, dict):
        return value
    return {key: str(item) if type(item) in (int, float) else item for key, item in value.items()}


Fields = Annotated[
    dict[Annotated[str, AfterValidator(field_name)], FieldText],
    BeforeValidator(_texts, json_schema_input_type=dict[str, str | int | float]),
]


class Changes(Settings):
    """Changes of the fields of one head: removed first, then set, then appended."""

    remove: Names = ()
    """Fields that are taken out."""
    set: Fields = {}
    """Fields that get this value, in place of any that they have."""
    append: Fields = {}
    """Lines that are added to those that there are."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ChangesFields]) -> None: ...


class Transform(Settings):
    """Changes fields on the way to the service (`request`) and to the client (`response`).

    Response changes go for every answer, the gateway's own errors too. Fields that frame a message or belong to the
    connection cannot be changed, nor those that the gateway itself writes later: `Host`, `X-Forwarded-For`, `-Host` and
    `-Proto`, the identity of the user, `X-Request-ID`, and `Date` of responses. `check` says so.

    `normalize_errors` replaces answers of 400 and above that are not JSON by the gateway's error format; what the
    service wrote is dropped, so that no stack trace leaves the house. The client does not wait for it: up to 64 KB are
    read within a second so that the connection can be used again, else it is closed.

    Example:
        ```yaml
        transform:
          request: {set: {X-Api-Version: 2}, remove: [X-Debug]}
          response: {remove: [Server, X-Powered-By], append: {Link: "</docs>; rel=help"}}
          response_time: true
          normalize_errors: true
        ```
    """

    request: Changes = Changes()
    """Changes on the way to the service."""
    response: Changes = Changes()
    """Changes on the way to the client."""
    response_time: bool = False
    """Whether `X-Response-Time` says how long it took from the request's head to the response's, as `12.345ms`."""
    normalize_errors: bool = False
    """Whether errors of the service that are not JSON are replaced by `application/problem+json`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TransformFields]) -> None: ...
