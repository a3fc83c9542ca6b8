"""An ASGI application as an instance of a service: the object in a program, its import path in a file."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from pydantic import BeforeValidator

from pylae.config.models.base import refusal
from pylae.config.models.hooks import import_path

_ASGI = 3
"""Number of arguments of an ASGI application: scope, receive, send."""


def why_not_asgi(given: object) -> tuple[str, str | None] | None:
    """Returns why an object is not an ASGI 3 application, and a hint; None if it is one."""
    if isinstance(given, type):
        return "must be an ASGI application, not a class", f"create one: `{given.__name__}(…)`"
    if not callable(given):
        return "must be an ASGI application", "such as FastAPI() or Starlette()"
    if _takes(given, _ASGI):
        if inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
            return "must be an ASGI application, not a generator", "send the response with `await send(…)`"
        return None
    if _takes(given, 2):
        text = "must be an ASGI application; a WSGI application takes two arguments"
        return text, "wrap it: `a2wsgi.WSGIMiddleware(app)`"
    if _takes(given, 0):
        return "must be an ASGI application, not a function that makes one", "call the function"
    return "must be an ASGI application, which is called with scope, receive and send", None


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        # A native callable without a signature.
        return count == _ASGI
    return True


def _application(given: Any) -> Any:
    if isinstance(given, str):
        return import_path(given)
    if given is not None and (why := why_not_asgi(given)) is not None:
        raise refusal(*why)
    return given


Application = Annotated[Any, BeforeValidator(_application, json_schema_input_type=str | None)]
"""An ASGI application, or its import path."""


def name_of(application: object) -> str:
    """Returns a name that stands for an application in texts: its import path, or that of its class."""
    if isinstance(application, str):
        return application
    kind = application if inspect.isroutine(application) else type(application)
    return f"{kind.__module__}.{kind.__qualname__}"
