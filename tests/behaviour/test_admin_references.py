"""Whoever can change the configuration cannot read the secrets of the node with it: references, files and code."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.instance import EchoInstance, RawInstance
from support.running import Process
from support.tls import Authority

KEY = "the-key-of-the-service-behind"
SIGNING = "a secret that is quite long enough for HS256"

Change = Callable[[dict[str, Any]], None]


class Node:
    """A gateway that runs with a file, and what an operator can do to it over the admin API."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        address = process.read_until("admin API on").split()[-1]
        token = (folder / "state" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=f"http://{address}", headers=fields, timeout=30, verify=False)

    def read(self) -> dict[str, Any]:
        """The configuration as it is shown."""
        found: dict[str, Any] = self.http.get("/config").json()
        return found

    def put(self, document: Any) -> httpx.Response:
        """Applies a configuration."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.http.put("/config", content=text, headers={"If-Match": "*"})

    def change(self, change: Change) -> httpx.Response:
        """Reads the configuration, changes it, and puts it back."""
        document = self.read()
        change(document)
        return self.put(document)

    def fetch(self, path: str) -> httpx.Response:
        """What a client gets."""
        return httpx.get(f"{self.process.url}{path}", trust_env=False)


@contextmanager
def node(
    gateway_process: Callable[..., Process], folder: Path, config: dict[str, Any], **instances: Any
) -> Iterator[Node]:
    admin = {"address": "127.0.0.1:0", **config.pop("admin", {})}
    process = gateway_process({"admin": admin, "state": str(folder / "state"), **config}, **instances)
    running = Node(process, folder)
    try:
        yield running
    finally:
        running.http.close()


@pytest.fixture
def upstream(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Node]:
    """A gateway that sends the key of a service to it, and keeps a secret for tokens in a file."""
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    monkeypatch.setenv("EVERYWHERE_KEY", f"{KEY}-everywhere")
    config = {
        "auth": {"jwt": {"secret": f"${{file:{tmp_path / 'jwt.secret'}}}"}},
        "policies": {"transform": {"request": {"set": {"X-Everywhere": "${EVERYWHERE_KEY}"}}}},
        "routes": [
            {"name": "plain", "path": "/plain", "service": "all", "auth_required": False},
            {
                "name": "keyed",
                "path": "/keyed",
                "service": "all",
                "auth_required": False,
                "transform": {"request": {"set": {"Authorization": "Bearer ${UPSTREAM_KEY}"}}},
            },
        ],
    }
    (tmp_path / "jwt.secret").write_text(SIGNING)
    with node(gateway_process, tmp_path, config, all=echo) as running:
        assert KEY in running.fetch("/keyed").text
        yield running


def problems(answer: httpx.Response) -> list[dict[str, Any]]:
    """What a refused configuration is told; none of it is a secret."""
    assert answer.status_code == 422, answer.text
    assert KEY not in answer.text
    assert SIGNING not in answer.text
    found: list[dict[str, Any]] = answer.json()["problems"]
    return found


def public(document: dict[str, Any], body: Any) -> None:
    """Adds a route that shows a text to anybody."""
    document["routes"].append(
        {"name": "leak", "path": "/leak", "auth_required": False, "static_response": {"body": body}}
    )


def test_a_reference_cannot_be_put_where_it_could_be_read(upstream: Node) -> None:
    secret = upstream.read()["auth"]["jwt"]["secret"]
    assert secret.startswith("${file:")
    for stolen in (secret, f"key: {secret}", "${UPSTREAM_KEY}", "Bearer ${UPSTREAM_KEY}", {"deep": [secret]}):
        (problem,) = problems(upstream.change(lambda document, stolen=stolen: public(document, stolen)))
        assert problem["path"].startswith("routes[2].static_response.body"), problem
        assert "is allowed only where" in problem["message"]
        assert "admin: {references:" in problem["hint"]
        assert problem["line"] == 1
        assert problem["column"] > 1
    assert upstream.fetch("/leak").status_code == 404
    for way in ("/config/validate", "/config/diff"):
        document = upstream.read()
        public(document, secret)
        assert SIGNING not in upstream.http.post(way, json=document).text


def test_nor_by_an_anchor_or_a_merge(upstream: Node) -> None:
    document = upstream.read()
    public(document, "@")
    text = json.dumps(document).replace('"Bearer ${UPSTREAM_KEY}"', '&key "Bearer ${UPSTREAM_KEY}"')
    (problem,) = problems(upstream.put(text.replace('"@"', "*key")))
    assert problem["path"] == "routes[2].static_response.body"
    document["routes"][2] = {"name": "leak", "path": "/leak", "auth_required": False, "service": "all"}
    document["routes"][2]["transform"] = {"response": {"@": "@"}}
    keyed = '{"set": {"Authorization"'
    text = json.dumps(document).replace(keyed, f"&head {keyed}").replace('"@": "@"', "<<: *head")
    (problem,) = problems(upstream.put(text))
    assert problem["path"] == "routes[2].transform.response.set.Authorization"


def test_places_are_told_by_names(upstream: Node) -> None:
    def swap(document: dict[str, Any]) -> None:
        document["routes"].reverse()

    assert upstream.change(swap).status_code == 200
    assert KEY in upstream.fetch("/keyed").text

    def exchange_names(document: dict[str, Any]) -> None:
        one, other = document["routes"]
        one["name"], other["name"] = other["name"], one["name"]

    (problem,) = problems(upstream.change(exchange_names))
    assert problem["path"].endswith("transform.request.set.Authorization")


@pytest.mark.parametrize(
    "change",
    [
        lambda document, thief: document["services"]["all"].update(instances=[thief]),
        lambda document, thief: document["services"]["all"]["instances"].append(thief),
        lambda document, _: document["services"]["all"].update(discovery={"dns": "thief.example:80"}),
        lambda document, thief: (
            document["services"].update(thief={"instances": [thief]}) or document["routes"][1].update(service="thief")
        ),
        lambda document, thief: (
            document["routes"][1].pop("service") and document["routes"][1].update(service_url=thief)
        ),
        lambda document, thief: (
            document["services"].update(thief={"instances": [thief]}) or document["routes"][1].update(mirror="thief")
        ),
        lambda document, thief: (
            document["services"].update(thief={"instances": [thief]}) or document["policies"].update(mirror="thief")
        ),
        lambda document, _: document["routes"][1].update(rewrite="/echo"),
        lambda document, _: document["routes"][1].update(preserve_host=True),
        lambda document, _: document["routes"][1].update(path="/{all:path}"),
    ],
    ids=["instances", "instance", "discovery", "service", "url", "mirror", "mirror of all", "rewrite", "host", "path"],
)
def test_a_reference_is_void_where_its_destination_changes(upstream: Node, change: Any) -> None:
    with RawInstance() as thief:
        found = problems(upstream.change(lambda document: change(document, thief.url)))
        void = [problem for problem in found if problem["path"] == "routes[1].transform.request.set.Authorization"]
        assert len(void) == 1, found
        assert "not allowed together with a change" in void[0]["message"]
        assert "write the value itself" in void[0]["hint"]
        assert thief.requests == []


def test_a_new_destination_is_one_for_what_all_routes_send(upstream: Node) -> None:
    def add(url: str) -> Change:
        route = {"name": "thief", "path": "/thief", "auth_required": False, "service_url": url}
        return lambda document: document["routes"].append(route)

    with RawInstance() as thief:
        (problem,) = problems(upstream.change(add(thief.url)))
        assert problem["path"] == "policies.transform.request.set.X-Everywhere"

    def same_service(document: dict[str, Any]) -> None:
        document["routes"].append({"name": "more", "path": "/more", "auth_required": False, "service": "all"})

    assert upstream.change(same_service).status_code == 200
    assert f"{KEY}-everywhere" in upstream.fetch("/more").text


def test_what_does_not_say_where_it_is_sent_can_be_changed(upstream: Node) -> None:
    def tune(document: dict[str, Any]) -> None:
        document["routes"][1].update(timeout="9s", retries=0, rate_limit=1000, auth_required=True)
        document["services"]["all"].update(connect_timeout="1s", circuit_breaker=True)
        document["limits"] = {"max_requests": 7}

    assert upstream.change(tune).status_code == 200


def test_the_destination_and_the_value_can_change_together(upstream: Node, echo: EchoInstance) -> None:
    def move(document: dict[str, Any]) -> None:
        document["services"]["other"] = {"instances": [echo.url]}
        document["policies"] = {}
        document["routes"][1].update(
            service="other", transform={"request": {"set": {"Authorization": "Bearer another"}}}
        )

    assert upstream.change(move).status_code == 200
    assert "Bearer another" in upstream.fetch("/keyed").text


def test_a_reference_that_was_left_out_can_come_back_where_the_file_has_it(upstream: Node) -> None:
    before = upstream.read()
    fewer = copy.deepcopy(before)
    fewer["routes"].pop()
    assert upstream.put(fewer).status_code == 200
    assert upstream.put(before).status_code == 200
    assert KEY in upstream.fetch("/keyed").text


def test_what_was_taken_outlives_a_restart(upstream: Node, tmp_path: Path) -> None:
    assert upstream.change(lambda document: document["routes"][1].update(timeout="9s")).status_code == 200
    upstream.process.signal(signal.SIGKILL)
    upstream.process.wait()
    again = Process(yaml.safe_load(upstream.process.file.read_text()), upstream.process.file.parent)
    try:
        restarted = Node(again, tmp_path)
        assert restarted.read()["routes"][1]["timeout"] == "9s"
        assert KEY in restarted.fetch("/keyed").text
        assert restarted.change(lambda document: document["routes"][1].update(timeout="8s")).status_code == 200
        assert problems(restarted.change(lambda document: public(document, "${UPSTREAM_KEY}")))
        restarted.http.close()
    finally:
        again.stop()


def test_marks_are_void_too_and_count_whole_only(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    route: dict[str, Any] = {"name": "keyed", "path": "/keyed", "service": "all", "auth_required": False}
    route["transform"] = {"request": {"set": {"Authorization": f"Bearer {KEY}"}}}
    with node(gateway_process, tmp_path, {"routes": [route]}, all=echo) as running, RawInstance() as thief:
        mark = running.read()["routes"][0]["transform"]["request"]["set"]["Authorization"]
        assert mark.startswith("(hidden:")
        (problem,) = problems(running.change(lambda it: it["services"]["all"].update(instances=[thief.url])))
        assert "not allowed together with a change" in problem["message"]
        (problem,) = problems(running.change(lambda it: public(it, f"see {mark}")))
        assert problem["path"] == "routes[1].static_response.body"
        assert running.change(lambda it: it["routes"][0].update(timeout="5s")).status_code == 200
        assert KEY in running.fetch("/keyed").text
        assert thief.requests == []


def test_what_only_some_may_read_is_not_opened(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    (tmp_path / "page").write_text(KEY)
    config = {
        "auth": {"jwt": {"secret": SIGNING}},
        "routes": [
            {
                "name": "page",
                "path": "/page",
                "permissions": "read:page",
                "static_response": f"${{file:{tmp_path / 'page'}}}",
            }
        ],
    }
    with node(gateway_process, tmp_path, config, all=echo) as running:
        for opened in (
            lambda it: it["routes"][0].pop("permissions") and it["routes"][0].update(auth_required=False),
            lambda it: it["routes"][0].pop("permissions"),
            lambda it: it["auth"].update(jwt={"secret": "known to whoever has written it here"}),
            lambda it: it["listeners"].append("127.0.0.2:0"),
        ):
            (problem,) = problems(running.change(opened))
            assert problem["path"] == "routes[0].static_response"
            assert "who can read it" in problem["message"]
        assert running.fetch("/page").status_code == 401


def test_the_file_of_the_node_allows_more(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREE", "free for all")
    monkeypatch.setenv("OTHER", KEY)
    (tmp_path / "page.html").write_text("a page")
    (tmp_path / "access.log").touch()
    references = ["FREE", f"file:{tmp_path / 'page.html'}", f"file:{tmp_path / 'access.log'}"]
    admin = {"references": references, "code": ["os:sep"]}
    with node(gateway_process, tmp_path, {"admin": admin}, all=echo) as running:
        assert running.change(lambda it: public(it, "it is ${FREE} ${NO:-}")).status_code == 422
        assert running.change(lambda it: public(it, "it is ${FREE} ${FREE:-x}")).status_code == 200
        assert running.fetch("/leak").text == "it is free for all free for all"

        def serve_page(document: dict[str, Any]) -> None:
            document["routes"][-1]["static_response"]["body"] = f"${{file:{tmp_path / 'page.html'}}}"
            document["policies"] = {"access_log": {"output": str(tmp_path / "access.log")}}

        assert running.change(serve_page).status_code == 200
        assert running.fetch("/leak").text == "a page"
        problems(running.change(lambda it: public(it, "${OTHER}")))
        (problem,) = problems(running.change(lambda it: it.update(hooks=[{"on_request": "os:sep"}])))
        assert "is allowed only if the configuration names it already" not in problem["message"], (
            "it was imported, and is no hook"
        )
        for more in ({"references": [*references, "OTHER"]}, {"code": ["os:system"]}, {"references": []}):
            (problem,) = problems(running.change(lambda it, more=more: it["admin"].update(more)))
            assert problem["path"] == f"admin.{next(iter(more))}"
            assert "own file" in problem["message"]
        assert running.change(lambda it: it["admin"].pop("references") and it["admin"].pop("code")).status_code == 200
        assert running.change(lambda it: it["routes"].pop()).status_code == 200
        assert running.change(lambda it: public(it, "still ${FREE}")).status_code == 200


def test_files_that_settings_name_are_those_that_stand_there(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("own", "localhost")
    private = tmp_path / "private"
    private.write_text(KEY)
    private.chmod(0o600)
    config = {"listeners": [{"address": "127.0.0.1:0", "tls": pair}]}
    with node(gateway_process, tmp_path, config, all=echo) as running:
        named = str(private)
        for place, change in {
            "listeners[0].tls.key": lambda it: it["listeners"][0]["tls"].update(key=named),
            "listeners[0].tls.client_auth.ca": lambda it: it["listeners"][0]["tls"].update(client_auth={"ca": named}),
            "listeners[0].tls.client_auth": lambda it: it["listeners"][0]["tls"].update(client_auth=named),
            "services.all.tls.ca": lambda it: it["services"]["all"].update(
                instances=["https://127.0.0.1:1"], tls={"ca": named}
            ),
            "services.all.discovery.file": lambda it: it["services"]["all"].update(discovery={"file": named}),
            "policies.access_log.output": lambda it: it.update(policies={"access_log": {"output": named}}),
            "routes[0].access_log.output": lambda it: it["routes"][0].update(access_log={"output": named}),
            "admin.token_file": lambda it: it["admin"].update(token_file=named),
        }.items():
            found = problems(running.change(change))
            assert [problem["path"] for problem in found] == [place]
            assert "the configuration names it already" in found[0]["message"]
            assert f"file:{named}" in found[0]["hint"]
        assert running.change(lambda it: it["routes"][0].update(access_log={"output": "stderr"})).status_code == 200
        assert running.change(lambda it: it.update(limits={"max_requests": 5})).status_code == 200


def test_a_key_for_instances_is_for_those_that_it_was_for(
    gateway_process: Callable[..., Process], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("own", "gateway")
    services = {"all": {"instances": ["https://127.0.0.1:1"], "tls": {**pair, "ca": str(authority.file)}}}
    with node(gateway_process, tmp_path, {"services": services}) as running:
        assert running.change(lambda it: it["services"]["all"].update(slow_start="1s")).status_code == 200
        found = problems(running.change(lambda it: it["services"]["all"].update(instances=["https://127.0.0.1:2"])))
        assert [problem["path"] for problem in found] == ["services.all.tls.cert", "services.all.tls.key"]
        assert all("not allowed together with a change" in problem["message"] for problem in found)


def test_what_is_made_of_references_is_not_shown(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    route = {"name": "a", "path": "/a", "auth_required": False, "static_response": {"body": {"key": "${UPSTREAM_KEY}"}}}
    with node(gateway_process, tmp_path, {"routes": [route]}, all=echo) as running:
        assert running.fetch("/a").json() == {"key": KEY}
        for form in ("/config", "/config?effective=true"):
            text = running.http.get(form).text
            assert KEY not in text
            assert "${UPSTREAM_KEY}" in text
