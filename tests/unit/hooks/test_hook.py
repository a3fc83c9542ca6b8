"""What can be a hook is taken; what cannot be one is refused when it is given, and the words say what to give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from pylae import ConfigError, Gateway, HookError, Plugin, Request, Response

CallNext = Callable[[Request], Awaitable[Response]]


class PlainAsgi:
    """Middleware as the ASGI specification has it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Dispatching(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


class Good:
    """A hook that is an object."""

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        return await call_next(request)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application, or middleware that is one already."""


def factory(app: Any) -> Any:
    """Middleware as a function of the application."""
    return PlainAsgi(app)


ASGI: dict[str, Any] = {
    "a class": PlainAsgi,
    "an object": PlainAsgi(application),
    "Starlette's base": Dispatching,
    "an object of Starlette's base": Dispatching(application),
    "a function": application,
    "a factory": factory,
    "an application": Starlette(),
}


@pytest.mark.parametrize("given", ASGI.values(), ids=ASGI)
def test_asgi_middleware_is_refused(given: Any) -> None:
    with pytest.raises(HookError, match=r"ASGI.*`async def \w+\(request, call_next\)`"):
        Gateway().add_middleware(given)
    # Its options are those of Starlette; what they are for is not the point.
    with pytest.raises(HookError, match="ASGI"):
        Gateway().add_middleware(given, allow_origins=["*"])


def test_the_dispatch_of_starlettes_base_is_named() -> None:
    with pytest.raises(HookError, match="`dispatch`"):
        Gateway().add_middleware(Dispatching)


@pytest.mark.parametrize(("given", "policy"), [(CORSMiddleware, "cors"), (GZipMiddleware, "compression")])
def test_what_a_policy_does_is_named(given: Any, policy: str) -> None:
    with pytest.raises(HookError, match=f"the policy `{policy}`"):
        Gateway().add_middleware(given, minimum_size=500)


def test_a_class_is_no_hook_but_its_objects_are() -> None:
    gateway = Gateway()
    with pytest.raises(HookError, match=r"Good is a class; give an instance of it: `Good\(\)`"):
        gateway.add_middleware(Good)
    gateway.add_middleware(Good())


def test_a_plugin_is_no_hook() -> None:
    class Mine(Plugin):
        """One that says what it does in its methods."""

    with pytest.raises(HookError, match="Mine is a plugin; use it under `plugins`"):
        Gateway().on_request(Mine)


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (lambda gateway: gateway.on_request("orders"), r'"orders" is not callable.*`@gateway.on_request\(routes=…\)`'),
        (lambda gateway: gateway.on_response(["a"]), r"a list is not callable.*`@gateway.on_response\(routes=…\)`"),
        (lambda gateway: gateway.add_middleware(5), "5 is not callable"),
        (lambda gateway: gateway.on_request(routes=5), "`routes`.*names of routes.*found 5"),
        (lambda gateway: gateway.on_request(routes=["a", 5]), "`routes`.*names of routes.*found a list"),
        (lambda gateway: gateway.on_request(route="a"), "unknown option `route`; did you mean `routes`"),
        (lambda gateway: gateway.on_request(time_out=1), "unknown option `time_out`; did you mean `timeout`"),
        (lambda gateway: gateway.on_request(xyz=1), "unknown option `xyz`; there are .*on_error"),
        (lambda gateway: gateway.on_request(timeout="x"), '`timeout`: not a duration; found "x"'),
        (
            lambda gateway: gateway.on_request(on_error="skp"),
            '`on_error`: must be one of fail, skip; found "skp".*`skip`',
        ),
    ],
)
def test_wrong_registrations(register: Callable[[Gateway], Any], words: str) -> None:
    with pytest.raises(HookError, match=words):
        register(Gateway())


def test_in_a_program_the_place_is_said(tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(
        "from pylae import Gateway\n"
        "class Timing:\n"
        "    def __init__(self, app): self.app = app\n"
        "    async def __call__(self, scope, receive, send): ...\n"
        "gateway = Gateway()\n"
        "gateway.add_middleware(Timing)\n"
    )
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(program)
    assert str(caught.value).startswith(f"{program}:6: pylae_program.Timing is ASGI middleware")


def says_a_dict(_: Request) -> dict[str, str]:
    return {}


async def says_a_text_or_none(_: Request) -> str | None:
    return None


def says_a_tuple(_: Request, __: Response) -> tuple[dict[str, str], int]:
    return {}, 200


def says_another_response(_: Request) -> Starlette:
    raise NotImplementedError


def says_a_response(_: Request) -> Response | None:
    return None


def takes_it_for_a_dict(request: dict[str, Any]) -> dict[str, Any]:
    return request


def says_anything(_: Request) -> Any:
    return None


def says_what_is_not_there(_: Request) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    return None


async def around(request: Request, call_next: CallNext) -> Response:
    return await call_next(request)


@pytest.mark.parametrize(
    ("on", "function", "words"),
    [
        ("on_request", says_a_dict, "says_a_dict` is annotated to return dict[str, str]"),
        ("on_request", says_a_text_or_none, "says_a_text_or_none` is annotated to return str"),
        ("on_response", says_a_tuple, "is annotated to return tuple[dict[str, str], int]"),
        ("on_request", says_another_response, "is annotated to return starlette.applications.Starlette"),
        ("on_request", says_a_response, None),
        ("on_request", says_anything, None),
        ("on_request", says_what_is_not_there, None),
        ("add_middleware", around, None),
        ("add_middleware", takes_it_for_a_dict, None),
        ("add_middleware", Good(), None),
    ],
)
def test_check_warns_of_what_a_hook_is_said_to_return(on: str, function: Any, words: str | None) -> None:
    gateway = Gateway()
    getattr(gateway, on)(function)
    found = gateway.check()
    if words is None:
        assert found == []
        return
    (warning,) = found
    assert warning.file == __file__
    assert words in warning.message
    assert "Response.json(" in (warning.hint or "")


def test_check_says_where_a_file_names_such_a_hook(tmp_path: Path) -> None:
    (tmp_path / "annotated_hooks.py").write_text("def f(request) -> dict: return {}\n")
    file = tmp_path / "pylae.yaml"
    file.write_text('hooks:\n  - {on_request: "annotated_hooks:f"}\n')
    (warning,) = Gateway.from_file(file).check()
    assert (warning.file, warning.line, warning.path) == (str(file), 2, "hooks[0]")
