"""An ASGI application as an instance of a service: itself in a program, its import path in a file."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from pydantic import BeforeValidator

from pylae.config.models.base import refusal
from pylae.config.models.hooks import import_path

_ASGI = 3
"""Arguments that an application is called with: scope, receive, send."""


def why_not_asgi(given: object) -> tuple[str, str | None] | None:
    """Why something is no ASGI application (version 3), and what to do about it; None if it is one."""
    if isinstance(given, type):
        return "must be an ASGI application, and not a class", f"make one: `{given.__name__}(…)`"
    if not callable(given):
        return "must be an ASGI application", "such as FastAPI() or Starlette()"
    if _takes(given, _ASGI):
        if inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
            return "must be an ASGI application, and not a generator", "send answers by `await send(…)`"
        return None
    if _takes(given, 2):
        text = "must be an ASGI application; a WSGI application takes two arguments"
        return text, "`a2wsgi.WSGIMiddleware(app)` is one"
    if _takes(given, 0):
        return "must be an ASGI application, and not a function that makes one", "call the function"
    return "must be an ASGI application, which is called with scope, receive and send", None


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        # A native callable that does not say.
        return count == _ASGI
    return True


def _application(given: Any) -> Any:
    if isinstance(given, str):
        return import_path(given)
    if given is not None and (why := why_not_asgi(given)) is not None:
        raise refusal(*why)
    return given


Application = Annotated[Any, BeforeValidator(_application, json_schema_input_type=str | None)]
"""An ASGI application, or where to import it from."""


def name_of(application: object) -> str:
    """What stands for an application where it cannot be shown."""
    if isinstance(application, str):
        return application
    kind = application if inspect.isroutine(application) else type(application)
    return f"{kind.__module__}.{kind.__qualname__}"
