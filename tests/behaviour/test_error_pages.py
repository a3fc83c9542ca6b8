"""Error pages: what clients get in place of the gateway's own error bodies, and what they never get."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from click.testing import CliRunner

from pylae import ConfigError, Gateway, HTTPError, Request, Response
from pylae.cli import main
from pylae.testing import FakeService, Reply
from support.admin import Admin
from support.guides import write
from support.h2client import FramePeer
from support.h2servers import Shop, grpc_instance
from support.hooked import running as running_here
from support.instance import RawInstance
from support.pages.blocks import ROOT, blocks
from support.peer import Message, raw
from support.running import Process, Running

Start = Callable[..., Running]

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HTML = "text/html; charset=utf-8"
KEY = "k" * 40
PAGE = "<!doctype html><title>{{status}}</title><p title='{{path}}'>{{code}}|{{title}}|{{detail}}|{{path}}\n"
DOCUMENT = '{"status": {{status}}, "code": "{{code}}", "text": "{{title}}: {{detail}}", "path": "{{path}}"}'


@pytest.fixture
def errors(tmp_path: Path) -> dict[str, Any]:
    """Pages for every error."""
    (tmp_path / "all.html").write_text(PAGE)
    (tmp_path / "all.json").write_text(DOCUMENT)
    return {"default": {"html": str(tmp_path / "all.html"), "json": str(tmp_path / "all.json")}}


def browse(
    running: Running | Process, target: str = "/", *fields: str, method: str = "GET", host: str = "a"
) -> Message:
    """What a browser gets."""
    lines = "".join(f"{field}\r\n" for field in (f"Host: {host}", f"Accept: {BROWSER}", *fields))
    request = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
    return raw(running.address, request, 1, method=method)[0]


def shown(answer: Message) -> tuple[int, str]:
    """Status and code of a page."""
    assert answer.one("content-type") == HTML, answer
    assert answer.one("vary") == "Accept"
    assert answer.one("cache-control") == "no-store"
    assert len(answer.one("x-request-id") or "") == 36
    begin, _, rest = answer.body.decode().partition("'>")
    assert begin.startswith(f"<!doctype html><title>{answer.status}</title><p title='")
    return answer.status, rest.partition("|")[0]


def program(running: Running | Process, target: str = "/", *fields: str) -> Any:
    """What a program gets."""
    lines = "".join(f"{field}\r\n" for field in ("Host: a", *fields))
    (answer,) = raw(running.address, f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), 1)
    assert answer.one("content-type") == "application/json", answer
    assert answer.one("vary") == "Accept"
    return json.loads(answer.body)


def test_every_error_of_the_gateway(
    gateway: Start, errors: dict[str, Any], service: FakeService, dead_url: str
) -> None:
    with RawInstance() as silent, RawInstance(b"nonsense\r\n\r\n") as broken:
        routes = [
            {"path": "/get", "method": "GET", "service": "one"},
            {"path": "/keyed", "service": "one", "auth_required": True},
            {"path": "/clerks", "service": "one", "auth_required": True, "roles": "clerk"},
            {"path": "/barred", "service": "one", "ip_access": {"deny": "127.0.0.1"}},
            {"path": "/once", "service": "one", "rate_limit": "1/hour"},
            {"path": "/types", "service": "one", "validation": {"content_types": "text/plain"}},
            {"path": "/dead", "service": "dead", "retries": 0},
            {"path": "/broken", "service": "broken", "retries": 0},
            {"path": "/silent", "service": "silent", "retries": 0, "timeout": "50ms"},
            {"path": "/post", "service": "one"},
        ]
        consumer = {"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "role": "guest"}
        running = gateway(
            {
                "errors": errors,
                "routes": [{"auth_required": False, **route} for route in routes],
                "auth": {"api_key": {"consumers": {"ada": consumer}}},
                "hosts": ["a"],
                "limits": {"head_timeout": "200ms", "max_body": 10, "max_head": 2000, "max_target": 500},
            },
            one=service,
            dead=dead_url,
            silent=silent,
            broken=broken,
        )

        def fails(target: str, *fields: str, method: str = "GET", host: str = "a") -> tuple[int, str]:
            return shown(browse(running, target, *fields, method=method, host=host))

        assert fails("/keyed") == (401, "unauthorized")
        assert browse(running, "/keyed").one("www-authenticate")
        assert fails("/clerks", f"X-API-Key: {KEY}") == (403, "forbidden")
        assert fails("/barred") == (403, "address_refused")
        assert fails("/none") == (404, "no_route")
        assert fails("/get", method="PUT") == (405, "method_not_allowed")
        assert browse(running, "/get", method="PUT").one("allow") == "GET, HEAD"
        assert fails("/post", "Content-Length: 100", method="POST") == (413, "body_too_large")
        assert fails("/types", "Content-Length: 1", "Content-Type: a/b", method="POST")[0] == 415
        assert fails("/get", "Expect: nothing") == (417, "expectation_failed")
        assert fails("/get", host="b") == (421, "misdirected_request")
        assert browse(running, "/once").status == 200
        assert fails("/once") == (429, "rate_limited")
        assert int(browse(running, "/once").one("retry-after") or 0) > 3000
        assert fails("/a", method="CONNECT") == (501, "not_implemented")
        assert fails("/dead") == (502, "connect_failed")
        assert fails("/broken") == (502, "bad_gateway")
        assert fails("/silent") == (504, "gateway_timeout")
        running.gateway.engine.set_draining("one", service.url, True)
        assert fails("/get") == (503, "service_unavailable")
        assert browse(running, "/get").one("retry-after") == "1"
        # What is no request, as far as it was read.
        assert fails("/%00") == (400, "malformed_target")
        head = f"Host: a\r\nAccept: {BROWSER}\r\n"
        # Where the head breaks off before its Accept, the client may be a program.
        for request, status, kind in (
            (f"GET / HTTP/1.1\r\n{head}Host: b\r\n\r\n", 400, HTML),
            (f"GET / HTTP/3.0\r\n{head}\r\n", 505, "application/json"),
            (f"GET / HTTP/1.1\r\n{head}X: {'x' * 3000}\r\n\r\n", 431, HTML),
            (f"GET /{'x' * 600} HTTP/1.1\r\n{head}\r\n", 414, "application/json"),
            (f"GET / HTTP/1.1\r\n{head}", 408, HTML),
        ):
            (answer,) = running.raw(request.encode(), 1)
            assert (answer.status, answer.one("content-type"), answer.one("connection")) == (status, kind, "close")


def test_a_body_of_json_that_is_wrong(gateway: Start, errors: dict[str, Any], instance: RawInstance) -> None:
    checked = {"json_body": {"json_schema": {"type": "object"}}}
    running = gateway({"errors": errors, "policies": {"validation": checked}}, all=instance)
    for body, status in (("[]", 422), ("{", 400)):
        fields = "Content-Type: application/json", f"Content-Length: {len(body)}"
        lines = "".join(f"{field}\r\n" for field in ("Host: a", f"Accept: {BROWSER}", *fields))
        (answer,) = running.raw(f"POST / HTTP/1.1\r\n{lines}\r\n{body}".encode(), 1)
        assert shown(answer)[0] == status


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/problem+json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html, application/json", "application/json"),
        ("text/html;q=0.5, application/json;q=0.6", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("image/png", "application/json"),
        (BROWSER, HTML),
        ("text/html, */*", HTML),
        ("text/html", HTML),
        ("text/*", HTML),
        ("text/html;q=0.6, application/json;q=0.5", HTML),
        ("text/plain", "text/plain; charset=utf-8"),
    ],
)
def test_browsers_get_html_and_programs_get_json(
    gateway: Start, errors: dict[str, Any], instance: RawInstance, accept: str | None, expected: str
) -> None:
    running = gateway({"errors": errors, "routes": [{"path": "/a", "service": "all"}]}, all=instance)
    answer = running.get("/x", *([] if accept is None else [f"Accept: {accept}"]))
    assert (answer.status, answer.one("content-type"), answer.one("vary")) == (404, expected, "Accept")


def test_the_most_precise_page_of_the_route_and_then_of_the_gateway(
    gateway: Start, tmp_path: Path, instance: RawInstance, dead_url: str
) -> None:
    for name in ("route", "gateway-404", "gateway-4xx", "gateway-5xx"):
        (tmp_path / f"{name}.html").write_text(name)
    (tmp_path / "default.json").write_text('"default"')
    errors = {
        404: {"html": str(tmp_path / "gateway-404.html")},
        "4xx": {"html": str(tmp_path / "gateway-4xx.html")},
        "5xx": {"html": str(tmp_path / "gateway-5xx.html")},
        "default": {"json": str(tmp_path / "default.json")},
    }
    routes = [
        {"path": "/own", "service": "dead", "errors": {"default": {"html": str(tmp_path / "route.html")}}},
        {"path": "/dead", "service": "dead"},
        {"path": "/get", "service": "all", "method": "GET"},
    ]
    running = gateway({"errors": errors, "routes": routes}, dead=dead_url, all=instance)
    assert browse(running, "/x").body == b"gateway-404"
    assert browse(running, "/get", method="POST").body == b"gateway-4xx"
    assert browse(running, "/dead").body == b"gateway-5xx"
    assert browse(running, "/own").body == b"route"
    assert [program(running, path) for path in ("/x", "/dead", "/own")] == ["default"] * 3


def test_answers_of_services_are_theirs(gateway: Start, errors: dict[str, Any], service: FakeService) -> None:
    service.answer = Reply(404, body="mine")
    running = gateway({"errors": errors, "policies": {"transform": {"normalize_errors": False}}}, all=service)
    answer = browse(running, "/gone")
    assert (answer.status, answer.body, answer.one("content-type")) == (404, b"mine", "text/plain")
    assert "vary" not in answer


def test_head_is_get_without_a_body(gateway: Start, errors: dict[str, Any], instance: RawInstance) -> None:
    running = gateway({"errors": errors, "routes": [{"path": "/a", "service": "all"}]}, all=instance)
    head, whole = (browse(running, "/x", "X-Request-ID: same", method=method) for method in ("HEAD", "GET"))
    apart = ("date",)
    assert [field for field in head.fields if field[0] not in apart] == [
        field for field in whole.fields if field[0] not in apart
    ]
    assert (head.body, int(head.one("content-length") or 0)) == (b"", len(whole.body))


def test_other_fields_stay(gateway: Start, errors: dict[str, Any], instance: RawInstance) -> None:
    policies = {"cors": {"origins": ["https://shop.test"]}, "security_headers": {}, "compression": {"min_size": 1}}
    running = gateway(
        {"errors": errors, "policies": policies, "routes": [{"path": "/a", "service": "all"}]}, all=instance
    )
    answer = browse(running, "/x", "Origin: https://shop.test", "X-Request-ID: mine")
    assert answer.one("access-control-allow-origin") == "https://shop.test"
    assert answer.one("x-frame-options") == "DENY"
    assert answer.one("x-request-id") == "mine"
    assert set(answer.all("vary")) == {"Accept", "Origin"}
    assert answer.one("content-type") == HTML


HOSTILE = (
    "/<script>alert(1)</script>",
    "/%3Cscript%3Ealert(1)%3C/script%3E",
    "/'onmouseover='alert(1)",
    '/"><img src=x>'.replace(" ", "%20"),
    "/%22%2C%22admin%22%3Atrue%2C%22",
    '/","admin":true,"x":"',
    "/&lt;&amp;",
    "/%01%1F%7F%0D%0ASet-Cookie:%20a=b",
    "/%FF%FE%80",
    "/{{detail}}{{{{",
    "/%E2%80%A8%EF%BB%BF",
    "/${x}<!--",
)


@pytest.mark.parametrize("target", HOSTILE)
def test_no_path_leaves_its_place(gateway: Start, errors: dict[str, Any], instance: RawInstance, target: str) -> None:
    running = gateway({"errors": errors, "routes": [{"path": "/a", "service": "all"}]}, all=instance)
    answer = browse(running, target)
    assert answer.status in (400, 404)
    assert "set-cookie" not in answer
    page = answer.body.decode()
    path = page.partition("<p title='")[2].partition("'>")[0]
    title, detail = ("Not Found", "no route for this path") if answer.status == 404 else ("Bad Request", "")
    code = "no_route" if answer.status == 404 else page.partition("'>")[2].partition("|")[0]
    said = page.partition(f"|{title}|")[2].partition("|")[0] or detail
    assert page == (f"<!doctype html><title>{answer.status}</title><p title='{path}'>{code}|{title}|{said}|{path}\n")
    assert not set("<>\"'\x01\x7f") & set(path)
    document = program(running, target)
    assert set(document) == {"status", "code", "text", "path"}
    assert document["status"] == answer.status
    assert document["path"] == html.unescape(path)


def test_a_long_path_is_cut_off(gateway: Start, tmp_path: Path, instance: RawInstance) -> None:
    (tmp_path / "long.html").write_text("{{path}}" * 64)
    limits = {"max_target": "128KB", "max_head": "256KB"}
    errors = {404: {"html": str(tmp_path / "long.html")}}
    running = gateway({"errors": errors, "limits": limits, "routes": [{"path": "/a", "service": "all"}]}, all=instance)
    answer = browse(running, "/" + "&" * 65_000)
    shown_path = "/" + "&amp;" * 1023 + "…"
    assert answer.body.decode() == shown_path * 64


def test_streams_and_calls(gateway: Start, errors: dict[str, Any], instance: RawInstance) -> None:
    listener = {"address": "127.0.0.1:0", "http2": True}
    routes = [{"path": "/a", "service": "all"}]
    running = gateway({"errors": errors, "listeners": [listener], "routes": routes}, all=instance)
    with FramePeer(running.address) as peer:
        stream = peer.request("GET", "/x", ("accept", BROWSER))
        answer = peer.answer(stream)
        assert (answer.status, answer.get("content-type"), answer.get("vary")) == (404, HTML, "Accept")
        assert answer.body.startswith(b"<!doctype html><title>404</title>")
        answer = peer.answer(peer.request("HEAD", "/x", ("accept", BROWSER)))
        assert (answer.status, answer.get("content-type"), answer.body) == (404, HTML, b"")
        answer = peer.answer(peer.request("GET", "/x"))
        assert json.loads(answer.body)["code"] == "no_route"


def test_calls_of_grpc_stay_calls(gateway: Start, errors: dict[str, Any]) -> None:
    with grpc_instance(Shop()) as url:
        listener = {"address": "127.0.0.1:0", "http2": True}
        service = {"instances": [url], "protocol": "http2"}
        routes = [{"prefix": "/other", "service": "shop", "auth_required": False}]
        running = gateway({"errors": errors, "listeners": [listener], "services": {"shop": service}, "routes": routes})
        with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary("/shop.Shop/Unary")(b"abc", metadata=(("accept", BROWSER),))
            assert isinstance(raised.value, grpc.Call)
            assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
            assert raised.value.details() == "no route for this path"


def test_errors_are_never_kept(gateway: Start, errors: dict[str, Any], service: FakeService) -> None:
    running = gateway({"errors": errors, "policies": {"cache": {"ttl": "1h"}}}, all=service)
    running.gateway.engine.set_draining("all", service.url, True)
    assert shown(browse(running, "/kept")) == (503, "service_unavailable")
    running.gateway.engine.set_draining("all", service.url, False)
    assert browse(running, "/kept").status == 200


def test_what_hooks_refuse_and_what_they_see(errors: dict[str, Any], service: FakeService) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, errors=errors)
    gateway.add_route(name="all", path="/all", service_url=service.url, auth_required=False)
    seen: list[tuple[int, str]] = []

    @gateway.on_request(stage="early")
    def refuse(request: Request) -> None:
        if request.path == "/teapot":
            raise HTTPError(418, 'no "tea" <here>', {"X-Tea": "none"})
        if request.path == "/broken":
            raise RuntimeError("secret")

    @gateway.on_response(stage="early", malformed=True)
    def see(_request: Request, response: Response) -> None:
        seen.append((response.status, response.headers["content-type"]))

    with running_here(gateway) as address:

        def fetch(target: str) -> Message:
            request = f"GET {target} HTTP/1.1\r\nHost: a\r\nAccept: {BROWSER}\r\n\r\n"
            return raw(address, request.encode(), 1)[0]

        answer = fetch("/teapot")
        assert shown(answer)[0] == 418
        assert b"|no &quot;tea&quot; &lt;here&gt;|/teapot" in answer.body
        assert answer.one("x-tea") == "none"
        answer = fetch("/broken")
        assert shown(answer) == (500, "hook_error")
        assert b"secret" not in answer.body
        assert shown(fetch("/none")) == (404, "no_route")
        assert shown(fetch("/%00")) == (400, "malformed_target")
    assert seen == [(status, HTML) for status in (418, 500, 404, 400)]


def test_a_page_by_a_hook(errors: dict[str, Any], service: FakeService) -> None:
    """It goes before the page of the configuration, which it is shown."""
    gateway = Gateway(
        listeners=["127.0.0.1:0"], workers=1, errors=errors, policies={"cors": {"origins": ["https://shop.test"]}}
    )
    gateway.add_route(name="all", path="/all", service_url=service.url, auth_required=False)
    replaced: list[bytes] = []

    @gateway.on_response(stage="early")
    def not_found(request: Request, response: Response) -> Response | None:
        if response.status != 404 or request.route is not None:
            return None
        replaced.append(bytes(response.body or b""))
        return Response(f"<h1>{html.escape(request.path)}</h1>", status_code=404, media_type="text/html")

    with running_here(gateway) as address:
        fields = f"Host: a\r\nAccept: {BROWSER}\r\nOrigin: https://shop.test\r\n"
        (answer,) = raw(address, f"GET /x HTTP/1.1\r\n{fields}\r\n".encode(), 1)
        assert (answer.status, answer.body) == (404, b"<h1>/x</h1>")
        assert (answer.one("content-type") or "").startswith("text/html")
        assert answer.one("access-control-allow-origin") == "https://shop.test"
        (answer,) = raw(address, f"PUT /all HTTP/1.0\r\n{fields}Expect: x\r\n\r\n".encode(), 1)
        assert shown_status(answer) == 417
    assert replaced


def shown_status(answer: Message) -> int:
    """The status that a page shows."""
    return int(answer.body.partition(b"<title>")[2].partition(b"<")[0])


class Edited:
    """`pylae run` with pages beside its configuration."""

    def __init__(self, start: Callable[..., Process]) -> None:
        static = {"path": "/", "static_response": "hello"}
        self.config: dict[str, Any] = {"listeners": ["127.0.0.1:0"], "workers": 1, "services": {}, "routes": [static]}
        self.process = start(self.config)
        self.folder = self.process.file.parent / "errors"
        self.folder.mkdir()

    def write(self, name: str, text: str) -> None:
        """Puts a page in its file, at once and whole."""
        beside = self.folder / f"{name}.part"
        beside.write_text(text)
        beside.replace(self.folder / name)

    def body(self) -> bytes:
        """What a browser is shown."""
        return browse(self.process, "/x").body


def test_pages_are_watched(gateway_process: Callable[..., Process]) -> None:
    edited = Edited(gateway_process)
    assert b"problem" not in edited.body()
    edited.write("404.html", "first {{status}}")
    edited.process.apply({**edited.config, "errors": {404: {"html": "errors/404.html"}}})
    assert edited.body() == b"first 404"
    edited.write("404.html", "second {{code}}")
    edited.process.read_until("configuration applied")
    assert edited.body() == b"second no_route"
    # A page that is wrong, or gone, leaves the one in force where it is.
    edited.write("404.html", "third\n  {{cod}}")
    line = edited.process.read_until("{{cod}} is not a value")
    assert "errors/404.html:2:3: errors.404.html" in line
    assert "did you mean {{code}}?" in line
    assert edited.body() == b"second no_route"
    (edited.folder / "404.html").unlink()
    assert "no such file" in edited.process.read_until("cannot be read")
    assert edited.body() == b"second no_route"
    edited.write("404.html", "fourth")
    edited.process.read_until("configuration applied")
    assert edited.body() == b"fourth"


def test_the_admin_api_reads_no_other_file(admin: Callable[..., Admin], errors: dict[str, Any], tmp_path: Path) -> None:
    """Whoever hands in a configuration cannot have a file of the node shown to clients."""
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    routes = [{"path": "/", "static_response": "hello", "auth_required": False}]
    with admin({"errors": errors, "routes": routes}) as node:
        document = node.get("/config")
        assert document["errors"] == errors
        for shown_to_clients in ({"errors": {"default": {"html": str(secret)}}}, {"errors": {404: errors["default"]}}):
            content = json.dumps({**document, **shown_to_clients})
            answer = node.http.put("/config", content=content, headers={"If-Match": "*"})
            assert answer.status_code == 422, answer.text
            assert "a file is allowed only where the configuration names it already" in answer.text
        answer = node.http.put("/config", content=json.dumps({**document, "via": False}), headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        assert shown(browse(node.running, "/x")) == (404, "no_route")


@pytest.mark.usefixtures("errors")
def test_explain_names_the_page(tmp_path: Path) -> None:
    routes = [{"path": "/", "method": "GET", "static_response": "hello", "auth_required": False}]
    file = tmp_path / "pylae.yaml"
    pages = {404: {"html": "all.html"}, "default": {"json": "all.json"}}
    file.write_text(yaml.safe_dump({"errors": pages, "routes": routes}, sort_keys=False))

    def explained(*words: str) -> str:
        result = CliRunner().invoke(main, ["explain", str(file), *words])
        assert result.exit_code == 0, result.output
        return next((line.strip() for line in result.output.splitlines() if "error page" in line), "")

    assert explained("GET", "/x", "-H", f"Accept: {BROWSER}") == f"error page: all.html  {file}:3"
    assert explained("GET", "/x") == f"error page: all.json  {file}:5"
    assert explained("PUT", "/", "-H", "Accept: text/plain") == (
        "error page: the gateway's own, because none is configured for text"
    )
    assert explained("GET", "/") == ""


def test_a_page_that_is_wrong_keeps_a_gateway_from_starting(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>{{path}}</script>")
    gateway = Gateway(listeners=["127.0.0.1:0"], errors={404: {"html": str(tmp_path / "bad.html")}})
    with pytest.raises(ConfigError, match=r"bad\.html:1:9: errors\.404\.html: a value cannot stand in <script>"):
        gateway.start()


def test_a_full_gateway(gateway: Start, errors: dict[str, Any]) -> None:
    with RawInstance() as silent:
        running = gateway({"errors": errors, "limits": {"max_requests": 1}}, all=silent)
        with running.connect() as first:
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            silent.accept()
            answer = browse(running)
            assert shown(answer) == (503, "overloaded")
            assert answer.one("retry-after") == "1"


def test_the_pages_of_the_guide(gateway_process: Callable[..., Process], instance: RawInstance, tmp_path: Path) -> None:
    (tmp_path / "errors").mkdir()
    assert write("error-pages.md", tmp_path) == ["errors/404.html", "errors/error.json"]
    page, document = (str(tmp_path / "errors" / name) for name in ("404.html", "error.json"))
    errors = {"404": {"html": page}, "default": {"json": document}}
    process = gateway_process({"errors": errors, "routes": [{"prefix": "/shop", "service": "all"}]}, all=instance)
    answer = browse(process, "/here&there", "X-Request-ID: 7")
    assert b"<code>/here&amp;there</code>" in answer.body
    assert b"there should be one: 7</small>" in answer.body
    assert program(process, "/x", "X-Request-ID: 8") == {
        "error": {"status": 404, "code": "no_route", "message": "no route for this path", "request": "8"}
    }


def test_the_hook_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = (
        block.text for block in blocks(ROOT / "docs" / "guide" / "error-pages.md") if "gateway.run()" in block.text
    )
    monkeypatch.setattr(Gateway, "run", lambda _self: None)
    module: dict[str, Any] = {}
    exec(text.replace("127.0.0.1:8080", "127.0.0.1:0"), module)
    with running_here(module["gateway"]) as address:
        (answer,) = raw(address, f"GET /%3Cb%3E HTTP/1.1\r\nHost: a\r\nAccept: {BROWSER}\r\n\r\n".encode(), 1)
        assert (answer.status, answer.one("vary")) == (404, "Accept")
        assert answer.body == b"<!doctype html><title>Nothing here</title><p>There is no <code>/%3Cb%3E</code>."
        (answer,) = raw(address, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 1)
        assert (answer.status, answer.one("content-type")) == (404, "application/problem+json")
