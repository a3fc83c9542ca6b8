"""Tokens that the gateway fetches for instances (RFC 6749 section 4.4), from servers that fail, wait and lie."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pylae import ConfigError, Gateway
from pylae.cli import main
from support.exposition import Page
from support.h2client import FramePeer
from support.h2servers import H2Connection, H2Instance
from support.instance import OK, EchoInstance, RawInstance
from support.peer import Message, wait_until
from support.running import Running
from support.tls import Authority
from support.token_endpoint import TokenEndpoint, raw
from support.tokens import SECRET, bearer, token

Start = Callable[..., Running]

INVALID = (
    b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="x", error="invalid_token"\r\n'
    b"Content-Length: 0\r\n\r\n"
)


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as running:
        yield running
        running.may_answer.set()


def configured(endpoint: TokenEndpoint, **more: Any) -> dict[str, Any]:
    return {"services": {"echo": {"client_credentials": endpoint.settings(**more)}}}


def authorization(answer: Message) -> list[str]:
    """What the instance got."""
    assert answer.status == 200, answer
    return [value for name, value in json.loads(answer.body)["headers"] if name == "authorization"]


def renewed(running: Running, expected: str) -> None:
    """Waits until instances get this token."""
    wait_until(lambda: authorization(running.get("/")) == [f"Bearer {expected}"])


def test_instances_get_the_token_in_place_of_what_the_client_sends(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint
) -> None:
    config = {**configured(endpoint), "auth": {"jwt": {"secret": SECRET}}, "workers": 2}
    running = gateway(config, echo=echo)
    for _ in range(3):
        assert authorization(running.get("/", bearer(token()))) == ["Bearer token-1"]
    changes = {"request": {"set": {"Authorization": "Bearer of-a-policy"}}}
    route = {"prefix": "/", "service": "echo", "transform": changes}
    running.apply({**config, "routes": [route]}, echo=echo)
    assert authorization(running.get("/", bearer(token()))) == ["Bearer token-1"]
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("client_auth", ["basic", "post"])
def test_what_the_server_is_asked(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint, client_auth: str
) -> None:
    """RFC 6749 sections 2.3.1 and 4.4.2: exactly one way to say who asks."""
    more = {"scope": ["a", "b"], "audience": "https://x", "extra": {"resource": "urn:y"}, "client_auth": client_auth}
    assert gateway(configured(endpoint, **more), echo=echo).get("/").status == 200
    form = {"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["https://x"], "resource": ["urn:y"]}
    secret = {"client_id": ["gateway"], "client_secret": ["hunter2-secret"]}
    assert endpoint.forms == [form | (secret if client_auth == "post" else {})]
    (request,) = endpoint.requests
    basic = "Basic " + base64.b64encode(b"gateway:hunter2-secret").decode()
    assert request.all("Authorization") == ([] if client_auth == "post" else [basic])
    assert request.one("Content-Type") == "application/x-www-form-urlencoded"


def test_the_first_request_waits(gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint) -> None:
    endpoint.may_answer.clear()
    running = gateway({**configured(endpoint), "routes": [
        {"path": "/open", "static_response": "x"}, {"prefix": "/", "service": "echo"}]}, echo=echo)  # fmt: skip
    with running.connect() as waiting:
        waiting.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        endpoint.wait_for(1)
        # The worker is not held up.
        assert running.get("/open").status == 200
        endpoint.may_answer.set()
        assert authorization(waiting.read_answer()) == ["Bearer token-1"]


LIES = {
    "no JSON": (raw(b"<html>"), "the answer is not JSON"),
    "another type": (raw(b'{"access_token":"x","token_type":"mac"}'), "the token_type is not Bearer"),
    "no type": (raw(b'{"access_token":"x"}'), "the token_type is not Bearer"),
    "no token": (raw(b'{"token_type":"Bearer"}'), "the answer has no access_token"),
    "a line end": (raw(b'{"access_token":"x\\r\\nX-User-ID: 1","token_type":"Bearer"}'), "visible characters"),
    "huge token": (raw(b'{"access_token":"' + b"x" * 9000 + b'","token_type":"Bearer"}'), "visible characters"),
    "huge": (raw(b'"' + b"x" * 70000 + b'"'), "larger than 65536 bytes"),
    "no lifetime": (raw(b'{"access_token":"x","token_type":"Bearer","expires_in":"soon"}'), "expires_in"),
    "redirect": (raw(b"", "302 Found", "Location: http://127.0.0.1:9/"), "the answer is 302"),
    "refusal": (raw(b'{"error":"invalid_client","error_description":"s3cret"}', "401 Unauthorized"), "invalid_client"),
    "no HTTP": (b"hello\r\n\r\n", ""),
}


@pytest.mark.parametrize("name", sorted(LIES))
def test_a_server_that_lies(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    endpoint.said, why = LIES[name]
    running = gateway(configured(endpoint), echo=echo)
    answer = running.get("/", bearer("of-the-client"))
    assert (answer.status, echo.count) == (503, 0)
    assert json.loads(answer.body)["type"] == "urn:pylae:error:upstream_credentials_unavailable"
    assert int(answer.one("Retry-After") or 0) >= 1
    wait_until(lambda: "no token could be fetched" in caplog.text)
    assert why in caplog.text
    assert "s3cret" not in caplog.text + answer.body.decode()
    # It recovers by itself, which is said once.
    endpoint.said = None
    running.advance(120)
    endpoint.wait_for(2)
    wait_until(lambda: running.get("/").status == 200)
    wait_until(lambda: "was fetched from" in caplog.text)
    assert caplog.text.count("no token could be fetched") == 1


def test_a_server_that_is_down_is_left_alone_for_a_while(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint, dead_url: str
) -> None:
    dead = {**endpoint.settings(), "token_url": f"{dead_url}/token"}
    running = gateway({"services": {"echo": {"client_credentials": dead}}}, echo=echo)
    assert [running.get("/").status for _ in range(5)] == [503] * 5
    assert echo.count == 0


def test_a_token_is_renewed_ahead_and_used_while_it_is_good(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint
) -> None:
    endpoint.lifetime = 1000
    running = gateway(configured(endpoint), echo=echo)
    assert authorization(running.get("/")) == ["Bearer token-1"]
    running.advance(801)
    renewed(running, "token-2")
    # An outage: the last token is used until it expires.
    endpoint.said = raw(b"", "500 Oops")
    running.advance(801)
    endpoint.wait_for(3)
    assert authorization(running.get("/")) == ["Bearer token-2"]
    running.advance(200)
    answer = running.get("/", bearer("of-the-client"))
    assert answer.status == 503
    count = echo.count
    endpoint.said = None
    running.advance(120)
    renewed(running, "token-3")
    assert echo.count > count


def test_a_token_without_a_lifetime_is_renewed_all_the_same(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint
) -> None:
    endpoint.lifetime = None
    running = gateway(configured(endpoint), echo=echo)
    assert authorization(running.get("/")) == ["Bearer token-1"]
    running.advance(301)
    renewed(running, "token-2")


def test_a_token_that_an_instance_refuses_is_renewed_early(gateway: Start, endpoint: TokenEndpoint) -> None:
    """RFC 6750 section 3.1; the answer itself goes on to the client."""
    with RawInstance(INVALID) as instance:
        running = gateway(configured(endpoint), echo=instance)
        for _ in range(5):
            answer = running.get("/")
            assert (answer.status, answer.one("WWW-Authenticate")) == (401, 'Bearer realm="x", error="invalid_token"')
        endpoint.wait_for(2)
        wait_until(
            lambda: [running.get("/").status, *instance.requests[-1].all("Authorization")][1] == "Bearer token-2"
        )
        assert len(endpoint.requests) == 2
        running.advance(31)
        running.get("/")
        endpoint.wait_for(3)


def test_services_with_the_same_settings_share_a_token_and_reloads_keep_it(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint
) -> None:
    with EchoInstance("other") as other:
        both = {name: {"client_credentials": endpoint.settings()} for name in ("echo", "other")}
        routes = [{"path": "/other", "service": "other"}, {"prefix": "/", "service": "echo"}]
        config = {"services": both, "routes": routes}
        running = gateway(config, echo=echo, other=other)
        assert authorization(running.get("/")) == authorization(running.get("/other")) == ["Bearer token-1"]
        for _ in range(2):
            running.apply({**config, "limits": {"max_body": 10}}, echo=echo, other=other)
            assert authorization(running.get("/other")) == ["Bearer token-1"]
        both["other"] = {"client_credentials": endpoint.settings(scope="more")}
        running.apply(config, echo=echo, other=other)
        assert authorization(running.get("/")) == ["Bearer token-1"]
        assert authorization(running.get("/other")) == ["Bearer token-2"]
        del both["other"]["client_credentials"]
        running.apply(config, echo=echo, other=other)
        assert authorization(running.get("/other", bearer("of-the-client"))) == ["Bearer of-the-client"]


def test_every_attempt_has_it(gateway: Start, endpoint: TokenEndpoint) -> None:
    failing = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"
    with RawInstance(failing, failing, OK) as instance:
        route = {"prefix": "/", "service": "echo", "retries": 2, "retry_on": ["server_error"]}
        running = gateway({**configured(endpoint), "routes": [route]}, echo=instance)
        assert running.get("/", bearer("of-the-client")).status == 200
        assert [request.all("Authorization") for request in instance.requests] == [["Bearer token-1"]] * 3


def test_copies_have_the_token_of_their_own_service(
    gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint
) -> None:
    """A service must not get the token of another one."""
    with TokenEndpoint() as second, RawInstance(OK) as shadow, RawInstance(OK) as bare:
        services = {
            "echo": {"client_credentials": endpoint.settings()},
            "shadow": {"client_credentials": second.settings(client_id="other")},
            "bare": {},
        }
        second.issued = 10
        routes = [
            {"path": "/a", "service": "echo", "mirror": {"service": "shadow"}},
            {"path": "/b", "service": "echo", "mirror": {"service": "bare"}},
        ]
        config = {"services": services, "routes": routes}
        running = gateway(config, echo=echo, shadow=shadow, bare=bare)
        assert authorization(running.get("/a")) == ["Bearer token-1"]
        assert authorization(running.get("/b", bearer("of-the-client"))) == ["Bearer token-1"]
        wait_until(lambda: bool(shadow.requests and bare.requests))
        assert shadow.requests[0].all("Authorization") in (["Bearer token-11"], [])
        assert bare.requests[0].all("Authorization") == ["Bearer of-the-client"]


def test_health_checks_have_it(gateway: Start, endpoint: TokenEndpoint) -> None:
    with RawInstance(OK) as instance:
        service = {"client_credentials": endpoint.settings(), "health_check": {"path": "/health", "interval": "20ms"}}
        gateway({"services": {"echo": service}}, echo=instance)
        wait_until(lambda: any("token-1" in str(request.fields) for request in instance.requests))
        assert instance.requests[-1].target == "/health"
        assert instance.requests[-1].all("Authorization") == ["Bearer token-1"]


def test_over_http_2_on_both_sides(gateway: Start, endpoint: TokenEndpoint) -> None:
    seen: list[dict[str, str]] = []

    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        seen.append(fields)
        connection.h2.send_headers(stream, [(":status", "200")], end_stream=True)

    with H2Instance(answer) as instance:
        service = {"client_credentials": endpoint.settings(), "protocol": "http2"}
        config = {"listeners": [{"address": "127.0.0.1:0", "http2": True}], "services": {"echo": service}}
        running = gateway(config, echo=instance)
        with FramePeer(running.address) as peer:
            assert peer.get("/", ("authorization", "Bearer of-the-client")).status == 200
    assert [fields["authorization"] for fields in seen] == ["Bearer token-1"]


def test_web_sockets_have_it(gateway: Start, endpoint: TokenEndpoint) -> None:
    with RawInstance() as instance:
        route = {"prefix": "/", "service": "echo", "websocket": True}
        running = gateway({**configured(endpoint), "routes": [route]}, echo=instance)
        with running.connect() as client:
            client.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer of-the-client\r\n\r\n"
            )
            request = instance.accept().read_request()
            assert request.one("Upgrade") == "websocket"
            assert request.all("Authorization") == ["Bearer token-1"]


def test_an_authority_of_its_own(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with TokenEndpoint(context=authority.server("127.0.0.1")) as endpoint:
        running = gateway(configured(endpoint), echo=echo)
        assert running.get("/").status == 503
        running.apply(configured(endpoint, ca=str(authority.file)), echo=echo)
        assert authorization(running.get("/")) == ["Bearer token-1"]


def test_metrics(gateway: Start, echo: EchoInstance, endpoint: TokenEndpoint) -> None:
    running = gateway(configured(endpoint), echo=echo)
    assert running.get("/").status == 200
    labels = {"service": "echo"}
    page = Page(running.gateway.metrics())
    assert 3000 < page.value("pylae_service_token_expires_seconds", **labels) <= 3600
    assert page.value("pylae_service_token_failures_total", **labels) == 0
    endpoint.said = raw(b"", "500 Oops")
    running.advance(3601)
    wait_until(lambda: Page(running.gateway.metrics()).value("pylae_service_token_failures_total", **labels) >= 1)
    assert Page(running.gateway.metrics()).value("pylae_service_token_expires_seconds", **labels) == 0


def test_the_secret_and_the_token_are_nowhere_to_be_seen(
    gateway: Start,
    echo: EchoInstance,
    endpoint: TokenEndpoint,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TOKEN_SECRET", "hunter2-secret")
    log_file = tmp_path / "access.log"
    config = {**configured(endpoint), "policies": {"access_log": {"output": str(log_file)}}}
    running = gateway(config, echo=echo)
    assert running.get("/").status == 200
    endpoint.said = raw(b"", "500 Oops")
    running.advance(3601)
    assert running.get("/").status == 503
    wait_until(lambda: "no token could be fetched" in caplog.text)
    file = tmp_path / "pylae.yaml"
    service = {"instances": [echo.url], "client_credentials": endpoint.settings(client_secret="${TOKEN_SECRET}")}
    routes = [{"prefix": "/", "service": "echo", "auth_required": False}]
    file.write_text(json.dumps({"services": {"echo": service}, "routes": routes}))
    explained = [
        CliRunner().invoke(main, ["explain", str(file), "GET", "/", *options]).output
        for options in ([], ["--json"], ["--all"])
    ]
    running.gateway.stop()
    shown = "\n".join([caplog.text, *explained, repr(running.gateway.config), log_file.read_text()])
    assert [secret for secret in ("hunter2", "token-1") if secret in shown] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token_url": "ftp://x/"}, "http:// or https://"),
        ({"token_url": "https://a:b@x/"}, "http:// or https://"),
        ({"client_id": ""}, "client_id"),
        ({"client_auth": "jwt"}, "client_auth"),
        ({"extra": {"grant_type": "password"}}, "no further parameter"),
        ({"ca": "missing.pem"}, "missing.pem"),
    ],
)
def test_settings_that_are_refused(
    echo: EchoInstance, endpoint: TokenEndpoint, wrong: dict[str, Any], said: str
) -> None:
    service = {"instances": [echo.url], "client_credentials": endpoint.settings(**wrong)}
    with pytest.raises(ConfigError, match=said) as caught:
        Gateway(services={"echo": service}, routes=[{"prefix": "/", "service": "echo", "auth_required": False}]).check()
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_anybody_could_read(echo: EchoInstance, endpoint: TokenEndpoint) -> None:
    def found(url: str) -> list[str]:
        service = {"instances": [echo.url], "client_credentials": {**endpoint.settings(), "token_url": url}}
        routes = [{"prefix": "/", "service": "echo", "auth_required": False}]
        return [problem.path for problem in Gateway(services={"echo": service}, routes=routes).check()]

    assert found("http://id.example/token") == ["services.echo.client_credentials.token_url"]
    assert found("https://id.example/token") == found(endpoint.token_url) == []
