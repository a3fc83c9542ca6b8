"""Settings of hooks and plugins. `pylae.hooks.load` imports what they name."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pylae.config.models.base import Count, Positive, Settings, own_copy, refusal, split_words
from pylae.units import ByteSize, Duration, parse_size

if TYPE_CHECKING:
    from pylae.settings.fields import (
        CallOptionsFields,
        HookOptionsFields,
        HookSetFields,
        HookSettingsFields,
        PluginUseFields,
    )

BODY = 1024 * 1024
"""Largest body in bytes with `body: true`."""
ON = ("on_request", "on_response", "on_response_body", "on_response_events", "middleware")
"""The keys that say when a hook runs."""

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def import_path(text: str) -> str:
    """Checks that a text has the form `module:name`."""
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
    """How the gateway calls a function."""

    timeout: Duration = timedelta(seconds=5)
    """Longest time of one call. After that, the call has failed."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do if a call fails: `fail` answers 500, `skip` continues as if the function were not there."""
    blocking: bool = False
    """Set this if the function blocks, for example on files, databases or locks. It then runs on a pool of threads."""
    waits: bool | None = None
    """Whether an async function waits for something, and so must run on an asyncio loop. By default the gateway reads
    this from the function's code: a function that awaits only `call_next(…)`, `request.body()` and `request.json()`
    does not wait."""
    budget: Duration | None = timedelta(milliseconds=5)
    """Time that one call may occupy a worker. A function that repeatedly takes longer moves to the pool of threads, or
    to the asyncio loop if it is async, until the next reload. `null` never moves it."""
    body: Annotated[
        Annotated[int, Field(ge=0, le=2**32)] | None, BeforeValidator(_body, json_schema_input_type=bool | ByteSize)
    ] = None
    """Let the function read the body. The gateway then reads the whole body into memory: up to 1 MB with `true`, or up
    to the size given here."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CallOptionsFields]) -> None: ...


class HookOptions(CallOptions):
    """How the gateway calls a hook. These options do not apply to hooks that process bodies in pieces."""

    stage: Literal["early", "late"] | None = None
    """`early` hooks run before the gateway looks for a route, and see all responses, also those that the gateway itself
    makes. `late` hooks run after all policies of the route. The default is `late`, except for middleware without
    `routes`, which is early."""
    malformed: bool = False
    """Let an early response hook also see the responses to malformed requests (400, 408, 414, 431). Such requests have
    few readable attributes."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HookOptionsFields]) -> None: ...


class HookSettings(HookOptions):
    """A Python function that sees requests or responses. Exactly one of the keys that say when it runs is required.

    Example:
        ```yaml
        hooks:
          - {on_request: "shop.hooks:check_tenant", routes: orders|payments, timeout: 100ms}
          - {on_response: "shop.hooks:brand", on_error: skip}
        ```
    """

    on_request: ImportPath | None = None
    """Function that runs before the request is forwarded, as `function(request)`. If it returns a Response, the gateway
    sends that to the client."""
    on_response: ImportPath | None = None
    """Function that runs before the response is sent, as `function(request, response)`, or as `function(response,
    request)` if its parameters have these names."""
    on_response_body: ImportPath | None = None
    """Async generator function that receives the response body in pieces, as `function(request, response, chunks)`, and
    yields what the client gets."""
    on_response_events: ImportPath | None = None
    """Async generator function that receives the server-sent events of a `text/event-stream` response, as
    `function(request, response, events)`, and yields what the client gets."""
    middleware: ImportPath | None = None
    """Function that runs around the whole exchange, as `function(request)` or `function(request, call_next)`."""
    routes: RouteNames | None = None
    """Names of the routes that the hook runs on: one, `A|B`, or a list. The default is all."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HookSettingsFields]) -> None: ...

    @model_validator(mode="after")
    def _one(self) -> HookSettings:
        if len([name for name in ON if getattr(self, name)]) != 1:
            raise refusal(f"needs exactly one of {', '.join(f'`{name}`' for name in ON)}")
        return self

    @property
    def path(self) -> str:
        """The import path of the function."""
        return next(str(path) for name in ON if (path := getattr(self, name)))

    @property
    def options(self) -> HookOptions:
        """The options that were given, without the function."""
        said = HookOptions.model_fields.keys() & self.model_fields_set
        return HookOptions.model_validate({name: getattr(self, name) for name in said})


class HookSet(Settings):
    """Python functions that see requests and responses, and the processes that run them. A list is short for `use`.

    Example:
        ```yaml
        hooks:
          processes: 2
          max_memory: 512MB
          use:
            - {on_request: "shop.hooks:check_tenant", routes: orders|payments}
        ```
    """

    processes: Annotated[Count, Field(le=64)] = 0
    """Number of processes that run the hooks, so-called hook hosts: of this list, of plugins and of programs. With 0,
    the gateway's own process runs them. Functions of authenticators always run there."""
    max_calls: Annotated[Positive, Field(le=100_000)] = 1000
    """Most calls that a hook host has in progress. If all hosts have as many, further requests get 503, unless their
    hooks have `on_error: skip`."""
    max_requests: Positive | None = None
    """Number of calls after which a hook host is replaced by a new one, for hooks that leak."""
    max_memory: Annotated[ByteSize, Field(ge=16 * 1024 * 1024)] | None = None
    """Resident memory at which a hook host is replaced by a new one."""
    use: tuple[HookSettings, ...] = ()
    """The functions, in the order in which a request meets them."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HookSetFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, list | tuple) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = super().__get_pydantic_json_schema__(schema, handler)
        full = handler.resolve_ref_schema(written)
        mapping = dict(full)
        full.clear()
        full["anyOf"] = [mapping, mapping["properties"]["use"]]
        return written


class PluginUse(Settings):
    """A plugin and its settings.

    Example:
        ```yaml
        plugins:
          - {use: request_signing, routes: payments, settings: {secret: "${SIGNING_SECRET}"}}
        ```
    """

    use: str
    """Name of an installed plugin (entry point group `pylae.plugins`), or an import path `module:Class`."""
    routes: RouteNames | None = None
    """Names of the routes that the plugin runs on: one, `A|B`, or a list. The default is all."""
    settings: Annotated[dict[str, Any], AfterValidator(own_copy)] = {}
    """Settings of the plugin itself."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PluginUseFields]) -> None: ...
