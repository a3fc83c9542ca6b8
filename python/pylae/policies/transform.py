"""Changes of header fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator

from pylae.config.models.base import Settings
from pylae.policies.cors import Names, field_name
from pylae.policies.security_headers import FieldText

if TYPE_CHECKING:
    from pylae.settings.fields import ChangesFields, TransformFields


def _texts(value: Any) -> Any:
    """Converts numbers to text, as they are sent."""
    if not isinstance(value, dict):
        return value
    return {key: str(item) if type(item) in (int, float) else item for key, item in value.items()}


Fields = Annotated[
    dict[Annotated[str, AfterValidator(field_name)], FieldText],
    BeforeValidator(_texts, json_schema_input_type=dict[str, str | int | float]),
]


class Changes(Settings):
    """Changes to the fields of a request or response, in the order `remove`, `set`, `append`."""

    remove: Names = ()
    """Fields to remove."""
    set: Fields = {}
    """Fields to set. The value replaces all values that the field has."""
    append: Fields = {}
    """Fields to add. Values that the field has already stay."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ChangesFields]) -> None: ...


class Transform(Settings):
    """Changes header fields of the request to the service (`request`) and of the response to the client (`response`).

    Response changes apply to all responses, also to errors of the gateway. `pylae check` refuses changes to fields that
    frame a message or belong to the connection, and to those that the gateway itself writes later: `Host`,
    `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto`, the identity of the user, `X-Request-ID`, and `Date` in
    responses.

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
    """Changes to the request that the service receives."""
    response: Changes = Changes()
    """Changes to the response that the client receives."""
    response_time: bool = False
    """Add `X-Response-Time`: the time from the request's head to the response's head, such as `12.345ms`."""
    normalize_errors: bool = False
    """Replace responses with status 400 and above that are not JSON by the gateway's own error
    (`application/problem+json`). The body of the service is discarded, so no stack trace reaches a client. The client
    does not wait for that body: the gateway reads up to 64 KB of it within a second to keep the connection, and closes
    the connection otherwise."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TransformFields]) -> None: ...
