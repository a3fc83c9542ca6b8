"""A FastAPI service under a prefix, as the guide shows it: redirects, the page of its documentation, links."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.guides import write
from support.running import Running
from support.servers import Application, uvicorn_instance

Start = Callable[..., Running]


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the guide, in a folder from which they can be imported."""
    assert write("addresses.md", tmp_path) == ["pylae.yaml", "shop.py", "prefix.py", "main.py"]
    monkeypatch.syspath_prepend(tmp_path)
    # Other tests have modules of these names, too.
    for name in ("shop", "prefix", "main"):
        sys.modules.pop(name, None)
    yield tmp_path
    for name in ("shop", "prefix", "main"):
        sys.modules.pop(name, None)


def application(guide: Path, module: str) -> Application:
    """The application of a module of the guide."""
    spec = importlib.util.spec_from_file_location(module, guide / f"{module}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    found: Application = loaded.app
    return found


def configuration(guide: Path, **more: Any) -> dict[str, Any]:
    """The configuration of the guide on a free port."""
    written = yaml.safe_load((guide / "pylae.yaml").read_text(encoding="utf-8"))
    return {**written, "listeners": ["127.0.0.1:0"], **more}


@pytest.mark.parametrize("preserve_host", [None, False, True])
def test_a_redirect_ends_where_it_should(guide: Path, gateway: Start, preserve_host: bool | None) -> None:
    """The service knows nothing of the prefix, whichever Host it is sent."""
    with uvicorn_instance(application(guide, "shop")) as shop:
        said = {} if preserve_host is None else {"services": {"shop": {"preserve_host": preserve_host}}}
        running = gateway(configuration(guide, **said), shop=shop)
        redirected = httpx.get(f"{running.url}/shop/items")
        assert (redirected.status_code, redirected.headers["location"]) == (307, f"{running.url}/shop/items/")
        followed = httpx.get(f"{running.url}/shop/items", follow_redirects=True)
    assert (followed.status_code, followed.json()) == (200, ["cup", "plate"])


@pytest.mark.parametrize("told", ["server", "application", "middleware"])
def test_its_documentation_works(guide: Path, gateway: Start, told: str) -> None:
    app: Any = application(guide, "main" if told == "middleware" else "shop")
    if told == "application":
        # As `FastAPI(root_path="/shop")` does, which warns that it is deprecated.
        app.root_path = "/shop"
    with uvicorn_instance(app, root_path="/shop" if told == "server" else "") as shop:
        running = gateway(configuration(guide), shop=shop)
        page = httpx.get(f"{running.url}/shop/docs")
        assert page.status_code == 200
        found = re.search(r"url: '([^']+)'", page.text)
        assert found and found[1] == "/shop/openapi.json"
        document = httpx.get(running.url + found[1]).json()
        assert document["servers"] == [{"url": "/shop"}]
        for path in document["paths"]:
            assert httpx.get(running.url + document["servers"][0]["url"] + path).status_code == 200
        redirected = httpx.get(f"{running.url}/shop/items")
        assert redirected.headers["location"] == f"{running.url}/shop/items/"
        assert httpx.get(redirected.headers["location"]).status_code == 200


def test_it_works_for_several_prefixes_and_behind_another_proxy(guide: Path, gateway: Start) -> None:
    route = {"strip_prefix": True, "service": "shop", "auth_required": False}
    routes = [{"prefix": prefix, **route} for prefix in ("/shop", "/eu/shop")]
    with uvicorn_instance(application(guide, "main")) as shop:
        running = gateway(configuration(guide, routes=routes, trusted_proxies=["127.0.0.1"]), shop=shop)
        outer = {"X-Forwarded-Prefix": "/outer", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
        for prefix in ("/shop", "/eu/shop"):
            assert f"url: '{prefix}/openapi.json'" in httpx.get(f"{running.url}{prefix}/docs").text
            assert f"url: '/outer{prefix}/openapi.json'" in httpx.get(f"{running.url}{prefix}/docs", headers=outer).text
            redirected = httpx.get(f"{running.url}{prefix}/items", headers=outer)
            assert redirected.headers["location"] == f"https://shop.example/outer{prefix}/items/"
