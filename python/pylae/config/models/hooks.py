"""What a person writes about hooks and plugins. What they name is imported by `pylae.hooks.load`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.base import Settings, own_copy, refusal, split_words
from pylae.units import ByteSize, Duration, parse_size

if TYPE_CHECKING:
    from pylae.settings.fields import CallOptionsFields, HookOptionsFields, HookSettingsFields, PluginUseFields

BODY = 1024 * 1024
"""Bytes of a body that `body: true` takes into memory."""
ON = ("on_request", "on_response", "on_response_body", "on_response_events", "middleware")
"""The keys that say when a hook is called."""

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def import_path(text: str) -> str:
    """A text that is `module:name`."""
    if not _PATH.fullmatch(text):
        raise refusal("is not an import path", 'write it like "package.module:function"')
    return text


def _body(value: Any) -> Any:
    if value is None or value is False:
        return None
    return BODY if value is True else parse_size(value)


ImportPath = Annotated[str, AfterValidator(import_path)]
"""`module:name`."""

RouteNames = Annotated[
    tuple[str, ...], BeforeValidator(split_words, json_schema_input_type=str | list[str]), Field(min_length=1)
]
"""Names of routes: one, `A|B`, or a list."""


class CallOptions(Settings):
    """How a function is called."""

    timeout: Duration = timedelta(seconds=5)
    """Longest time that one call may take; beyond it the call has failed."""
    on_error: Literal["fail", "skip"] = "fail"
    """What a failure means for the exchange: `fail` answers 500, `skip` goes on without the function."""
    blocking: bool = False
    """Whether the function waits for things (files, databases, locks): it then runs on a pool of threads."""
    waits: bool | None = None
    """Whether an async function may wait for something, and so runs on an asyncio loop. Told from its code if not said:
    one that awaits nothing but `call_next(…)`, `request.body()` and `request.json()` does not wait."""
    budget: Duration | None = timedelta(milliseconds=5)
    """Time that one call may keep a worker. A function that exceeds it again and again is moved to the pool of threads,
    or to the asyncio loop, until the configuration is applied again; `null` leaves it where it is."""
    body: Annotated[
        Annotated[int, Field(ge=0, le=2**32)] | None, BeforeValidator(_body, json_schema_input_type=bool | ByteSize)
    ] = None
    """Whether the function looks at the body, which is then in memory as a whole: up to 1 MB, or to the size given
    here."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CallOptionsFields]) -> None: ...


class HookOptions(CallOptions):
    """How a hook is called. None of it can be said of hooks that see bodies piece by piece."""

    stage: Literal["early", "late"] | None = None
    """`early` hooks run before a route is looked for, and see every answer, the gateway's own included; `late` ones run
    behind all policies of a route. A middleware without `routes` is early if nothing is said, every other hook late."""
    malformed: bool = False
    """Whether an early hook for responses also sees answers to what is no request (400, 408, 414, 431): there is little
    to read in it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HookOptionsFields]) -> None: ...


class HookSettings(HookOptions):
    """A Python callable in the request path. Exactly one of the keys that say when is required.

    Example:
        ```yaml
        hooks:
          - {on_request: "shop.hooks:check_tenant", routes: orders|payments, timeout: 100ms}
          - {on_response: "shop.hooks:brand", on_error: skip}
        ```
    """

    on_request: ImportPath | None = None
    """Called before the request is forwarded, as `function(request)`. A Response that it returns is the answer."""
    on_response: ImportPath | None = None
    """Called before the response is sent, as `function(request, response)`, or `function(response, request)` if that is
    what its parameters are called."""
    on_response_body: ImportPath | None = None
    """An async generator function that the body of the response passes, as `function(request, response, chunks)`."""
    on_response_events: ImportPath | None = None
    """The same by events, as `function(request, response, events)`, where the response is `text/event-stream`."""
    middleware: ImportPath | None = None
    """Called around the exchange, as `function(request)` or `function(request, call_next)`."""
    routes: RouteNames | None = None
    """Names of the routes whose requests it sees: one, `A|B`, or a list. All if none is given."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HookSettingsFields]) -> None: ...

    @model_validator(mode="after")
    def _one(self) -> HookSettings:
        if len([name for name in ON if getattr(self, name)]) != 1:
            raise refusal(f"needs exactly one of {', '.join(f'`{name}`' for name in ON)}")
        return self

    @property
    def path(self) -> str:
        """The import path."""
        return next(str(path) for name in ON if (path := getattr(self, name)))

    @property
    def options(self) -> HookOptions:
        """Only how it is called, as far as that was said."""
        said = HookOptions.model_fields.keys() & self.model_fields_set
        return HookOptions.model_validate({name: getattr(self, name) for name in said})


class PluginUse(Settings):
    """A plugin that is used, with its settings.

    Example:
        ```yaml
        plugins:
          - {use: request_signing, routes: payments, settings: {secret: "${SIGNING_SECRET}"}}
        ```
    """

    use: str
    """Name of an installed plugin (entry point group `pylae.plugins`), or an import path `module:Class`."""
    routes: RouteNames | None = None
    """Names of the routes whose requests it sees: one, `A|B`, or a list. All if none is given."""
    settings: Annotated[dict[str, Any], AfterValidator(own_copy)] = {}
    """The plugin's own settings."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PluginUseFields]) -> None: ...
