"""Hooks and plugins that a configuration names: imported, checked, and imported anew."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from pylae import ConfigError, Gateway, Plugin, Request, Response
from pylae import hooks as marks
from pylae.cli import main
from pylae.settings import Settings
from pylae.testing import FakeService
from support.exchanges import ask
from support.hooked import calls, running

BASE = """
listeners: ["127.0.0.1:0"]
workers: 1
services: {{shop: {{instances: ["{url}"]}}}}
routes:
  - {{name: a, path: /a, service: shop, auth_required: false}}
  - {{name: b, path: /b, service: shop, auth_required: false}}
"""


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", sys.modules)
    for name in [name for name in sys.modules if name.startswith("loaded_")]:
        monkeypatch.delitem(sys.modules, name)


def written(folder: Path, url: str, more: str) -> Path:
    file = folder / "pylae.yaml"
    file.write_text(BASE.format(url=url) + more)
    return file


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    return [str(problem).replace(str(file.parent), "") for problem in caught.value.problems]


def test_settings_of_a_hook(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "loaded_settings.py").write_text(
        "from pylae.hooks import on_request\n"
        "@on_request(timeout=1, blocking=True)\n"
        "def marked(request): request.headers['X-Marked'] = '1'\n"
        "async def waits(request): raise RuntimeError\n"
    )
    file = written(
        tmp_path,
        service.url,
        "hooks:\n"
        "  - {on_request: 'loaded_settings:marked', timeout: 2s}\n"
        "  - {on_request: 'loaded_settings:waits', waits: true, routes: b, on_error: skip, budget: null}\n",
    )
    gateway = Gateway.from_file(file)
    a, b = (route["policies"]["hooks"]["calls"] for route in gateway.plan()["routes"])
    assert [call["name"] for call in a] == ["loaded_settings:marked"]
    assert (a[0]["run"], a[0]["timeout"], a[0]["on_error"], a[0]["budget"]) == ("pool", 2.0, "fail", 0.005)
    assert (b[1]["run"], b[1]["timeout"], b[1]["on_error"], b[1]["budget"]) == ("loop", 5.0, "skip", None)
    with running(gateway) as address:
        assert ask(address, "/b").status == 200
    assert service.requests[0].headers["X-Marked"] == "1"


def test_what_is_wrong_with_hooks_is_said_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "loaded_broken.py").write_text("def f():\n    raise RuntimeError('not today')\n\nf()\n")
    (tmp_path / "loaded_syntax.py").write_text("def f(:\n")
    (tmp_path / "loaded_fine.py").write_text("def check(request): ...\ntext = 'text'\n")
    file = written(
        tmp_path,
        "http://127.0.0.1:1",
        "hooks:\n"
        "  - {on_request: 'loaded_broken:check'}\n"
        "  - {on_request: 'loaded_syntax:check'}\n"
        "  - {on_request: 'loaded_missing:check'}\n"
        "  - {on_request: 'loaded_fine:chek'}\n"
        "  - {on_request: 'loaded_fine:text'}\n"
        "  - {on_response: 'loaded_fine:check'}\n"
        "plugins:\n"
        "  - {use: unheard_of}\n"
        "  - {use: 'loaded_fine:check'}\n",
    )
    assert problems(file) == [
        (
            "/pylae.yaml:9:18: hooks[0].on_request: cannot be imported: RuntimeError: not today "
            "(raised at /loaded_broken.py:2)"
        ),
        (
            "/pylae.yaml:10:18: hooks[1].on_request: cannot be imported: SyntaxError: invalid syntax "
            "(at /loaded_syntax.py:1:7)"
        ),
        (
            "/pylae.yaml:11:18: hooks[2].on_request: cannot be imported: ModuleNotFoundError: No "
            "module named 'loaded_missing'"
        ),
        "/pylae.yaml:12:18: hooks[3].on_request: `loaded_fine` has no `chek` (did you mean `check`?)",
        "/pylae.yaml:13:18: hooks[4].on_request: loaded_fine:text is not callable",
        (
            "/pylae.yaml:14:19: hooks[5].on_response: loaded_fine:check cannot be called as "
            "`loaded_fine:check(request, response)`"
        ),
        (
            "/pylae.yaml:16:11: plugins[0].use: there is no plugin `unheard_of`; none is "
            "installed (you can also give an import path `module:Class`)"
        ),
        "/pylae.yaml:17:11: plugins[1].use: `loaded_fine:check` is not a class derived from pylae.hooks.Plugin",
    ]


def test_a_module_that_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "loaded_exits.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "loaded_exits_later.py").write_text(
        "import sys\nfrom pylae import Plugin\n"
        "class Exits(Plugin):\n"
        "    def __init__(self, settings): sys.exit('no licence')\n"
        "    def on_request(self, request): ...\n"
    )
    file = written(
        tmp_path,
        "http://127.0.0.1:1",
        "hooks: [{on_request: 'loaded_exits:check'}]\nplugins: [{use: 'loaded_exits_later:Exits'}]\n",
    )
    assert problems(file) == [
        (
            "/pylae.yaml:8:22: hooks[0].on_request: cannot be imported: SystemExit: 3; a module must not end the "
            "process that imports it (raised at /loaded_exits.py:2)"
        ),
        (
            "/pylae.yaml:9:17: plugins[0].use: cannot be imported: SystemExit: no licence; a module must not end the "
            "process that imports it (raised at /loaded_exits_later.py:4)"
        ),
    ]


def test_a_module_is_executed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = "import builtins\nbuiltins.loaded_count.append(__name__)\n"
    functions = "def check(request): ...\ndef other(request): ...\n"
    package = tmp_path / "loaded_package"
    package.mkdir()
    (package / "__init__.py").write_text(f"{count}from loaded_package import inner\n")
    (package / "inner.py").write_text(count + functions)
    (tmp_path / "loaded_plain.py").write_text(count + functions)
    (tmp_path / "loaded_fails.py").write_text(f"{count}raise RuntimeError('not today')\n")
    counted: list[str] = []
    monkeypatch.setattr(builtins, "loaded_count", counted, raising=False)

    def named(*paths: str) -> Path:
        hooks = "".join(f"  - {{on_request: '{path}'}}\n" for path in paths)
        return written(tmp_path, "http://127.0.0.1:1", f"hooks:\n{hooks}")

    file = named(
        *(f"{name}:{hook}" for name in ("loaded_package.inner", "loaded_plain") for hook in ("check", "other"))
    )
    for _ in range(2):
        Gateway.from_file(file).check()
    assert counted == ["loaded_package", "loaded_package.inner", "loaded_plain"]
    counted.clear()
    assert len(problems(named("loaded_fails:check", "loaded_fails:other"))) == 2
    assert counted == ["loaded_fails"]


def test_a_route_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "loaded_fine.py").write_text("def check(request): ...\n")
    file = written(tmp_path, "http://127.0.0.1:1", "hooks: [{on_request: 'loaded_fine:check', routes: [a, bb]}]\n")
    assert problems(file) == [
        "/pylae.yaml:8:51: hooks[0].routes: there is no route `bb` for the hook loaded_fine:check (did you mean `b`?)"
    ]


def test_shapes_that_are_wrong(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "http://127.0.0.1:1",
        "hooks:\n"
        "  - {routes: a}\n"
        "  - {on_request: 'a:b', on_response: 'a:b'}\n"
        "  - {on_request: 'no path'}\n"
        "  - {on_request: 'a:b', on_error: ignore, body: lots}\n",
    )
    found = problems(file)
    assert len(found) == 5
    assert "needs exactly one of" in found[0] and "needs exactly one of" in found[1]
    assert "is not an import path" in found[2]


def test_hooks_reload_live(service: FakeService, tmp_path: Path) -> None:
    module = tmp_path / "loaded_live.py"
    module.write_text("def sign(request, response): response.headers['X-Version'] = '1'\n")
    file = written(tmp_path, service.url, "hooks: [{on_response: 'loaded_live:sign'}]\n")
    gateway = Gateway.from_file(file)
    assert module in gateway.builder.read_files
    with running(gateway) as address:
        assert ask(address, "/a").headers["X-Version"] == "1"
        # Same length, same second: the bytes count.
        module.write_text("def sign(request, response): response.headers['X-Version'] = '2'\n")
        gateway.reload()
        assert ask(address, "/a").headers["X-Version"] == "2"
        module.write_text("raise RuntimeError('not today')\n")
        with pytest.raises(ConfigError, match="not today") as caught:
            gateway.reload()
        assert module in caught.value.files
        assert ask(address, "/a").headers["X-Version"] == "2"
        module.write_text("def sign(request, response): response.headers['X-Version'] = '4'\n")
        gateway.reload()
        assert ask(address, "/a").headers["X-Version"] == "4"


def test_what_is_known_of_a_hook_outlives_an_apply(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "loaded_kept.py").write_text("def sign(request, response): ...\n")
    gateway = Gateway.from_file(written(tmp_path, service.url, "hooks: [{on_response: 'loaded_kept:sign'}]\n"))
    with running(gateway) as address:
        ask(address, "/a")
        gateway.apply()
        ask(address, "/a")
        assert calls(gateway, "a")["loaded_kept:sign"]["calls"] == 2


class Signing(Plugin):
    """A plugin as users write one."""

    class Settings(Settings):
        header: str
        times: int = 1

    def on_request(self, request: Request) -> None:
        request.headers[self.settings.header] = "s" * self.settings.times

    async def on_response(self, _: Request, response: Response) -> None:
        response.headers[self.settings.header] = "r"

    @marks.on_request(on_error="skip")
    def also(self, _: Request) -> None:
        raise RuntimeError

    def helper(self) -> None: ...


def test_a_plugin(service: FakeService, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        service.url,
        f"plugins:\n  - {{use: '{__name__}:Signing', routes: [a], settings: {{header: X-One}}}}\n"
        f"  - {{use: '{__name__}:Signing', settings: {{header: X-Two, times: 3}}}}\n",
    )
    with running(Gateway.from_file(file)) as address:
        reply = ask(address, "/a")
        assert (reply.headers["X-One"], reply.headers["X-Two"]) == ("r", "r")
        assert "X-One" not in ask(address, "/b").headers
    assert (service.requests[0].headers["X-One"], service.requests[0].headers["X-Two"]) == ("s", "sss")


def test_a_plugins_settings_are_checked_like_any_other(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "http://127.0.0.1:1",
        f"plugins:\n  - {{use: '{__name__}:Signing', settings: {{heder: X-One, times: many}}}}\n",
    )
    found = problems(file)
    assert any("plugins[0].settings.heder: unknown key `heder`" in text and "`header`" in text for text in found)
    assert any("plugins[0].settings.times: must be a whole number" in text for text in found)
    assert any("plugins[0].settings.header: `header` is required" in text for text in found)


class Careless(Plugin):
    """Its model says nothing of keys that it does not know."""

    class Settings(BaseModel):
        header: str = "X"

    def on_request(self, _: Request) -> None: ...


class Open(Careless):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="allow")


class Unmodelled(Careless):
    Settings = dict  # type: ignore[assignment]


def test_a_setting_that_a_plugin_does_not_know(tmp_path: Path) -> None:
    used = [f"  - {{use: '{__name__}:{name}', settings: {{heder: X-One}}}}\n" for name in ("Careless", "Open")]
    file = written(tmp_path, "http://127.0.0.1:1", "plugins:\n" + "".join(used))
    assert problems(file) == [
        (f"/pylae.yaml:9:{len(__name__) + 35}: plugins[0].settings.heder: unknown key `heder` (did you mean `header`?)")
    ]
    file = written(tmp_path, "http://127.0.0.1:1", f"plugins: [{{use: '{__name__}:Unmodelled'}}]\n")
    (found,) = problems(file)
    assert "is not a Pydantic model" in found


def test_a_plugin_whose_module_raises_what_settings_do(tmp_path: Path) -> None:
    (tmp_path / "loaded_model.py").write_text(
        "from pydantic import BaseModel\nclass One(BaseModel):\n    a: int\nOne()\n"
    )
    (found,) = problems(written(tmp_path, "http://127.0.0.1:1", "plugins: [{use: 'loaded_model:Plugin'}]\n"))
    assert "plugins[0].use: cannot be imported: " in found and "validation error for One" in found


def test_a_plugin_by_its_entry_point(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "loaded_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loaded-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pylae.plugins]\nstamping = loaded_plugin:Stamping\n")
    (tmp_path / "loaded_plugin.py").write_text(
        "from pylae import Plugin\n"
        "class Stamping(Plugin):\n"
        "    async def middleware(self, request, call_next):\n"
        "        response = await call_next(request)\n"
        "        response.headers['X-Stamp'] = '1'\n"
        "        return response\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    gateway = Gateway.from_file(written(tmp_path, service.url, "plugins: [{use: stamping}]\n"))
    with running(gateway) as address:
        assert ask(address, "/a").headers["X-Stamp"] == "1"
        assert calls(gateway, "")["middleware"]["run"] == "coroutine"
    (tmp_path / "pylae.yaml").write_text(BASE.format(url=service.url) + "plugins: [{use: stampin}]\n")
    (found,) = problems(tmp_path / "pylae.yaml")
    assert "did you mean `stamping`?" in found


def test_explain_and_check_show_hooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loaded_shown.py").write_text("def check(request): ...\ndef brand(request, response): ...\n")
    file = written(
        tmp_path,
        "http://127.0.0.1:1",
        "hooks: [{on_request: 'loaded_shown:check'}, {on_response: 'loaded_shown:brand'}]\n",
    )
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(file), "GET", "/a"])
    assert ended.value.code in (0, None)
    assert "calls loaded_shown:check, and with the response loaded_shown:brand" in capsys.readouterr().out


def test_code_cannot_be_named_over_the_admin_api(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "loaded_named.py").write_text("def check(request): ...\ndef other(request): ...\n")
    named = "hooks: [{on_request: 'loaded_named:check', timeout: 1}]\nadmin: false\n"
    gateway = Gateway.from_file(written(tmp_path, service.url, named))
    with running(gateway):
        runtime = gateway.runtime
        text = BASE.format(url=service.url)
        runtime.apply_document(text + named.replace("timeout: 1", "timeout: 2"))
        with pytest.raises(ConfigError, match="is allowed only if the configuration names it already"):
            runtime.apply_document(text + named.replace(":check", ":other"))
        with pytest.raises(ConfigError, match="is allowed only if the configuration names it already"):
            runtime.apply_document(text + "plugins: [{use: 'loaded_named:Plugin'}]\nadmin: false\n")
