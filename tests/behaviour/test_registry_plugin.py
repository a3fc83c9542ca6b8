"""Kinds of sources that distributions add by an entry point, as a configuration names them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, EngineError, Gateway
from pylae.config.checks.check import parse_document
from pylae.config.document.load import parse
from pylae.config.document.written import mark, written
from pylae.registry.kinds import KINDS, Discovery
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running

Start = Callable[..., Admin]
SOURCE = """
from pydantic import SecretStr
from pylae.config.models.tls import PemFile
from pylae.registry import Instance, Source, SourceSettings


class Listed(SourceSettings):
    short = {"type": "string"}
    files = ("proof",)

    url: str
    weight: int = 1
    password: SecretStr | None = None
    proof: PemFile | None = None


class ListedSource(Source[Listed]):
    Settings = Listed

    async def look(self, now):
        self.due = now + 0.01
        if self.settings.url == "broken":
            raise RuntimeError("no list")
        if self.settings.url == "leaving":
            raise SystemExit(3)
        return self.found([Instance(url=self.settings.url, weight=self.settings.weight)])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a distribution with a module on the path, whose entry points are `name = value`.

    A kind is imported once in a process, so each test has names of its own.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def put(distribution: str, source: str, **points: str) -> None:
        info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        listed = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[pylae.sources]\n{listed}")
        (folder / f"{distribution.replace('-', '_')}.py").write_text(source)

    return put


def problems(discovery: str, tmp_path: Path) -> str:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"services:\n  users:\n    discovery:\n      {discovery}\n")
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file)
    (problem,) = caught.value.problems
    return str(problem).removeprefix(str(file))


def test_a_kind_that_is_installed(
    gateway: Callable[..., Running], install: Callable[..., None], echo: EchoInstance
) -> None:
    install("src-one", SOURCE, src_one="src_one:ListedSource")
    assert "src_one" not in sys.modules
    running = gateway({"services": {"users": {"discovery": {"src_one": {"url": echo.url, "weight": 2}}}}})
    assert running.get("/").status == 200
    (found,) = running.gateway.stats()["services"][0]["instances"]
    assert (found["url"], found["weight"]) == (echo.url, 2)
    assert running.gateway.registry.kind("users", echo.url) == "src_one"
    with EchoInstance("second") as second:
        running.apply({"services": {"users": {"discovery": {"src_one": {"url": second.url}}}}})
        assert running.get("/").status == 200
        assert second.count == 1


def test_one_that_nobody_names_is_not_imported(install: Callable[..., None], tmp_path: Path) -> None:
    install("src-idle", "raise RuntimeError", src_idle="src_idle:ListedSource")
    Gateway(services={"users": {"discovery": {"heartbeat": {}}}})
    assert "consull" in problems("consull: {}", tmp_path)
    assert "src_idle" not in sys.modules


def test_its_settings_are_checked_where_they_stand(install: Callable[..., None], tmp_path: Path) -> None:
    install("src-checked", SOURCE, src_checked="src_checked:ListedSource")
    assert problems("src_checked: {url: x, weigth: 3}", tmp_path) == (
        ":4:29: services.users.discovery.src_checked.weigth: unknown key `weigth` (did you mean `weight`?)"
    )
    assert problems("src_checked: {url: x, weight: many}", tmp_path).startswith(
        ":4:37: services.users.discovery.src_checked.weight: must be a whole number"
    )
    assert "hidden" not in problems("src_checked: {url: x, password: [hidden]}", tmp_path)
    with pytest.raises(ConfigError, match=r"services\.users\.discovery\.src_checked\.weight") as caught:
        services: Any = {"users": {"discovery": {"src_checked": {"url": "x", "weight": "many"}}}}
        Gateway(services=services)
    assert caught.value.problems[0].file == __file__


def test_its_secrets_are_hidden(install: Callable[..., None]) -> None:
    install("src-secret", SOURCE, src_secret="src_secret:ListedSource")
    config = parse_document(parse("services: {a: {discovery: {src_secret: {url: x, password: p4ss}}}}", "x.yaml"))
    shown = written(config)["services"]["a"]["discovery"]
    assert shown == {"src_secret": {"url": "x", "password": mark("p4ss")}}


def test_a_kind_that_there_is_not(install: Callable[..., None], tmp_path: Path) -> None:
    install("src-near", SOURCE, src_near="src_near:ListedSource")
    assert problems("src_neer: {url: x}", tmp_path) == (
        f":4:7: services.users.discovery.src_neer: there is no source of this kind; there are {', '.join(KINDS)}, "
        'src_near; found "src_neer" (did you mean `src_near`?)'
    )
    assert "(did you mean `consul`?)" in problems("consull: users", tmp_path)
    assert f"needs exactly one of {', '.join(f'`{name}`' for name in KINDS)}, `src_near`" in problems("{}", tmp_path)


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        (
            "src_raises",
            "1 / 0",
            "the distribution src-raises 1.2 cannot be imported: ZeroDivisionError: division by zero",
        ),
        ("src_exits", "import sys; sys.exit(3)", "the distribution src-exits 1.2 cannot be imported: SystemExit: 3"),
        ("src_lacks", "import src_nowhere", "No module named 'src_nowhere'"),
        ("src_empty", "", "has no attribute 'ListedSource'"),
        (
            "src_other",
            "ListedSource = 5",
            "`src_other:ListedSource`, which is not a class derived from pylae.registry.So",
        ),
        (
            "src_plain",
            SOURCE.replace("Settings = Listed", "Settings = dict"),
            "`Settings` of `src_plain:ListedSource` is",
        ),
        ("copy", SOURCE, "the distribution copy 1.2 calls its source by a name that none can have"),
    ],
)
def test_a_distribution_that_cannot_be_used(
    install: Callable[..., None], tmp_path: Path, name: str, source: str, why: str
) -> None:
    install(name.replace("_", "-"), source, **{name: f"{name}:ListedSource"})
    found = problems(f"{name}: {{url: x}}", tmp_path)
    assert found.startswith(f":4:7: services.users.discovery.{name}: ")
    assert why in found
    if name == "src_raises":
        assert f"(raised at {tmp_path / 'site' / 'src_raises.py'}:1)" in found


def test_two_distributions_of_one_name(install: Callable[..., None], tmp_path: Path) -> None:
    install("src-first", SOURCE, src_twice="src_first:ListedSource")
    install("src-second", SOURCE, src_twice="src_second:ListedSource")
    assert (
        "several distributions have a source of this kind: the distribution src-first 1.2 and the distribution "
        'src-second 1.2; found "src_twice" (uninstall all but one of them)'
    ) in problems("src_twice: {url: x}", tmp_path)


@pytest.mark.parametrize(("url", "error"), [("broken", "RuntimeError: no list"), ("leaving", "SystemExit: 3")])
def test_one_that_raises_while_it_looks_has_failed_to_look(
    gateway: Callable[..., Running], install: Callable[..., None], echo: EchoInstance, url: str, error: str
) -> None:
    install(f"src-{url}", SOURCE, **{f"src_{url}": f"src_{url}:ListedSource"})
    running = gateway({"services": {"users": {"instances": [echo.url], "discovery": {f"src_{url}": {"url": url}}}}})
    assert running.get("/").status == 200
    why = f"its source raised {error}; its instances stay as they are"
    assert running.gateway.registry.troubles() == {"users": why}


def test_one_that_cannot_be_made_is_refused(
    gateway: Callable[..., Running], install: Callable[..., None], echo: EchoInstance
) -> None:
    unmade = SOURCE.replace(
        "    async def look", "    def __init__(self, *given):\n        raise OSError('no')\n    async def look"
    )
    install("src-unmade", unmade, src_unmade="src_unmade:ListedSource")
    running = gateway(users=echo)
    with pytest.raises(EngineError, match="the source `src_unmade` of the service users cannot be made: no"):
        running.apply({"services": {"users": {"discovery": {"src_unmade": {"url": "x"}}}}})
    assert running.get("/").status == 200


def test_over_the_admin_api_it_is_code(admin: Start, install: Callable[..., None], echo: EchoInstance) -> None:
    """Nobody has a distribution imported that the node's own file does not name, by what they hand in."""
    install("src-far", SOURCE, src_far="src_far:ListedSource")
    with admin(all=echo) as api:
        document = api.get("/config")
        document["services"]["all"] = {"discovery": {"src_far": {"url": echo.url}}}
        answer = api.http.put("/config", json=document, headers={"If-Match": "*"})
        assert answer.status_code == 422
        (problem,) = answer.json()["problems"]
        assert problem["path"] == "services.all.discovery.src_far"
        assert "code is allowed only if the configuration names it already" in problem["message"]
        assert "src_far" not in sys.modules


def test_over_the_admin_api_what_stands_there_may_change(
    admin: Start, install: Callable[..., None], echo: EchoInstance
) -> None:
    install("src-there", SOURCE, src_there="src_there:ListedSource")
    services = {"all": {"discovery": {"src_there": {"url": "http://127.0.0.1:1"}}}}
    with admin({"services": services, "routes": [{"path": "/", "service": "all"}]}) as api:
        document = api.get("/config")
        document["services"]["all"]["discovery"]["src_there"]["url"] = echo.url
        answer = api.http.put("/config", json=document, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        wait_until(lambda: api.running.get("/").status == 200)
        document["services"]["all"]["discovery"]["src_there"]["proof"] = "/etc/ssl/private.pem"
        answer = api.http.put("/config", json=document, headers={"If-Match": "*"})
        (problem,) = answer.json()["problems"]
        assert (problem["path"], "the configuration names it already" in problem["message"]) == (
            "services.all.discovery.src_there.proof",
            True,
        )


def test_editors_are_told_of_it(install: Callable[..., None]) -> None:
    install("src-shown", SOURCE, src_shown="src_shown:ListedSource")
    schema = Discovery.model_json_schema()
    found = schema.get("properties") or schema["$defs"]["Discovery"]["properties"]
    assert found["src_shown"] == {"description": "A source of the distribution src-shown 1.2."}
    assert "src_shown" not in sys.modules
