"""Sessions in cookies, over real sockets. What asks the provider is a stand-in here: see the tests of logins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import HTTPError, Request, Response
from pylae.config.models.authenticators.oidc import Oidc as OidcSettings
from pylae.engine import Known, NativeSealer, User
from pylae.identity.kinds import KINDS
from pylae.testing import FakeService
from support.frames import handshake
from support.h2client import FramePeer
from support.instance import EchoInstance
from support.peer import Message, wait_until
from support.running import Running

Start = Callable[..., Running]

SECRET = "a secret of more than thirty-two bytes, for cookies"
AUTH: dict[str, Any] = {
    "oidc": {"issuer": "https://login.example.org", "client_id": "shop", "cookie_secret": SECRET},
    "failure_limit": "2/minute",
}
PAGE = "Accept: text/html"
ROUTES = [
    {"name": "shop", "prefix": "/", "service": "echo", "websocket": True},
    {"name": "open", "prefix": "/open", "service": "echo", "auth_required": False},
    {"name": "known", "prefix": "/known", "service": "echo", "auth_required": False, "auth": "oidc"},
    {
        "name": "api",
        "prefix": "/api",
        "service": "echo",
        "cors": {"origins": ["https://app.example.org"], "methods": "*", "credentials": True},
    },
    {"name": "read", "prefix": "/read", "service": "echo", "cors": {"origins": ["https://app.example.org"]}},
]


class StandIn:
    """Answers as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []
        self.says: Callable[[Request], Any] = lambda _: HTTPError(503)

    def attach(self, surroundings: object) -> None:
        assert surroundings

    async def authenticate(self, request: Request) -> Any:
        self.asked.append((request.asked_for, request.path))
        said = self.says(request)
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    one = StandIn()
    monkeypatch.setitem(KINDS, OidcSettings, lambda *_: one)  # type: ignore[index]
    return one


@pytest.fixture
def running(gateway: Start, echo: EchoInstance, stand_in: StandIn) -> Running:
    assert not stand_in.asked
    return gateway({"auth": AUTH, "routes": ROUTES}, echo=echo)


def sealed(purpose: str = "session oidc", **more: Any) -> str:
    now = int(time.time())
    members = {"i": "A" * 22, "b": now - 60, "x": now + 600, "n": now + 300, "u": "ada", "r": "customer", **more}
    return NativeSealer([SECRET.encode()]).seal(purpose, json.dumps(members).encode())


def changed(text: str, at: int = 40) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def cookie(**more: Any) -> str:
    return f"Cookie: pylae-oidc={sealed(**more)}"


def told(answer: Message) -> dict[str, list[str]]:
    """The fields that the instance got."""
    assert answer.status == 200, answer.body
    fields: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body)["headers"]:
        fields.setdefault(name, []).append(value)
    return fields


def post(running: Running, target: str, *fields: str) -> Message:
    lines = "".join(f"{field}\r\n" for field in ("Host: gateway.test", *fields))
    return running.raw(f"POST {target} HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n".encode(), 1, method="POST")[0]


def code(answer: Message) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2]


def test_a_session_is_a_user_whose_cookie_instances_do_not_see(running: Running, stand_in: StandIn) -> None:
    value = sealed(e="ada@example.org", p=["orders:read"])
    others = f'Cookie: theme=dark; pylae-oidc={value}; cart="7";  last=1; pylae-oidc-attempt-AbCdEfGh=x'
    for _ in range(2):
        fields = told(running.get("/", others, "Cookie: more=1"))
        assert (fields["x-user-id"], fields["x-user-role"]) == (["ada"], ["customer"])
        assert fields["x-user-email"] == ["ada@example.org"]
        assert fields["cookie"] == ['theme=dark; cart="7";  last=1', "more=1"]
    assert "cookie" not in told(running.get("/open", f"Cookie: pylae-oidc={value}"))
    assert "x-user-id" not in told(running.get("/open", f"Cookie: pylae-oidc={value}"))
    assert told(running.get("/known", f"Cookie: pylae-oidc={value}"))["x-user-id"] == ["ada"]
    assert stand_in.asked == []


def test_over_http2(gateway: Start, echo: EchoInstance, stand_in: StandIn) -> None:
    assert stand_in
    listeners = [{"address": "127.0.0.1:0", "http2": True}]
    running = gateway({"auth": AUTH, "routes": ROUTES, "listeners": listeners}, echo=echo)
    with FramePeer(running.address) as peer:
        lines = [("cookie", "theme=dark"), ("cookie", f"pylae-oidc={sealed()}"), ("cookie", "cart=7")]
        answer = peer.get("/", *lines)
        assert answer.status == 200
        fields = json.loads(answer.body)["headers"]
    assert ["x-user-id", "ada"] in fields
    assert "; ".join(value for name, value in fields if name == "cookie") == "theme=dark; cart=7"


def test_copies_and_logs_have_no_session(
    gateway: Start, service: FakeService, echo: EchoInstance, stand_in: StandIn, tmp_path: Path
) -> None:
    assert stand_in
    log, value = tmp_path / "access.log", sealed()
    policies = {
        "mirror": {"service": "copies"},
        "access_log": {"output": str(log), "request_headers": ["cookie", "host"]},
    }
    services = {"copies": {"instances": [service.url]}}
    config = {"auth": AUTH, "policies": policies, "services": services, "routes": ROUTES[:1]}
    running = gateway(config, echo=echo)
    assert told(running.get("/", f"Cookie: pylae-oidc={value}; a=1"))["cookie"] == ["a=1"]
    wait_until(lambda: len(service.requests) == 1 and log.exists() and log.stat().st_size > 0)
    assert service.requests[0].headers["Cookie"] == "a=1"
    assert value not in log.read_text()
    assert "gateway.test" in log.read_text()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: "pylae-oidc=v1.x", "malformed"),
        (lambda: f"pylae-oidc={changed(sealed())}", "forged"),
        (lambda: f"pylae-oidc={sealed('attempt oidc')}", "forged"),
        (lambda: f"pylae-oidc={sealed('session other')}", "forged"),
        (lambda: f"pylae-oidc={sealed(x=1)}", "expired"),
        (lambda: f"pylae-oidc={NativeSealer([b'k' * 32]).seal('session oidc', b'{}')}", "unknown_key"),
        (lambda: f"pylae-oidc={sealed()}; pylae-oidc={sealed()}", "several"),
        (lambda: f"pylae-oidc={sealed(c={'x': 'y' * 900})}", "malformed"),
    ],
)
def test_a_bad_cookie_is_none(running: Running, stand_in: StandIn, bad: Callable[[], str], reason: str) -> None:
    line = f"Cookie: {bad()}"
    for _ in range(4):
        # However often: it is no failed authentication.
        assert code(running.get("/", line)) == (401, "unauthorized")
    problem = json.loads(running.get("/", line).body)
    assert problem["detail"] == json.loads(running.get("/").body)["detail"]
    assert "x-user-id" not in told(running.get("/known", line))
    assert f'pylae_session_cookies_refused_total{{reason="{reason}"}} 6\n' in running.gateway.metrics()
    assert stand_in.asked == []


def test_python_is_asked_when_it_is_time(running: Running, stand_in: StandIn) -> None:
    def again(request: Request) -> Known:
        request["response_headers"] = {"Set-Cookie": "pylae-oidc=new; Path=/"}
        return Known(User("ada", role="admin"), time.time() + 600)

    stand_in.says = lambda _: Known(User("ada", role="clerk"), time.time() + 600)
    due = cookie(n=1)
    for _ in range(3):
        answer = running.get("/", due)
        assert (told(answer)["x-user-role"], answer.all("Set-Cookie")) == (["clerk"], [])
    assert stand_in.asked == [("check", "/")]
    stand_in.says = again
    full = cookie(f=True)
    for _ in range(2):
        answer = running.get("/", full)
        assert (told(answer)["x-user-role"], answer.all("Set-Cookie")) == (["admin"], ["pylae-oidc=new; Path=/"])
    assert len(stand_in.asked) == 3
    stand_in.says = lambda _: None
    assert code(running.get("/", cookie(n=1))) == (401, "unauthorized")
    stand_in.says = lambda _: HTTPError(503, "not now")
    assert running.get("/", cookie(n=1)).status == 503


def test_navigations_begin_a_login(running: Running, stand_in: StandIn) -> None:
    def begin(_: Request) -> Response:
        location = {"Location": "https://login.example.org/authorize", "Set-Cookie": "pylae-oidc-attempt-A=x"}
        return Response(status=302, headers=location)

    stand_in.says = begin
    for fields in ([PAGE], [PAGE, cookie(x=1)], ["Sec-Fetch-Mode: navigate"]):
        answer = running.get("/orders?page=2", *fields)
        assert (answer.status, answer.one("Location")) == (302, "https://login.example.org/authorize")
        assert answer.one("Set-Cookie") == "pylae-oidc-attempt-A=x"
    assert stand_in.asked == [("login", "/orders")] * 3
    for fields in (["Accept: application/json"], [PAGE, "Sec-Fetch-Mode: cors"], [PAGE, "X-Requested-With: fetch"]):
        answer = running.get("/orders", *fields)
        assert answer.status == 401
        assert answer.one("WWW-Authenticate") == 'Cookie realm="pylae"'
    assert post(running, "/orders", PAGE, "Sec-Fetch-Mode: navigate").status == 401
    assert told(running.get("/open", PAGE))
    assert told(running.get("/known", PAGE))
    assert len(stand_in.asked) == 3
    stand_in.says = lambda _: None
    assert running.get("/", PAGE).status == 401
    # Nobody is let in by an invitation.
    stand_in.says = lambda _: User("mallory")
    assert running.get("/", PAGE).status == 401


def test_its_paths_are_no_login_and_no_check(running: Running, stand_in: StandIn) -> None:
    stand_in.says = lambda request: Response(f"{request.asked_for} {request.cookies['pylae-oidc']}")
    value = sealed()
    answer = running.get("/oauth2/session", f"Cookie: pylae-oidc={value}", PAGE)
    assert (answer.status, answer.body.decode()) == (200, f"None {value}")


def test_its_paths_ask_for_no_claims(gateway: Start, echo: EchoInstance, stand_in: StandIn) -> None:
    stand_in.says = lambda _: Response("callback")
    policies = {"require": {"claims": {"tenant": "north"}}}
    running = gateway({"auth": AUTH, "policies": policies, "routes": ROUTES[:1]}, echo=echo)
    assert running.get("/oauth2/callback?code=1").status == 200
    assert running.get("/", cookie(c={"tenant": "south"})).status == 403
    assert told(running.get("/", cookie(c={"tenant": "north"})))


def test_other_sites_cannot_use_a_session(running: Running, stand_in: StandIn) -> None:
    assert stand_in
    own, good = "Origin: http://gateway.test", cookie()
    app = "Origin: https://app.example.org"
    for target, field, passes in [
        ("/", "Sec-Fetch-Site: same-origin", True),
        ("/", "Sec-Fetch-Site: none", True),
        ("/", "Sec-Fetch-Site: same-site", False),
        ("/", "Sec-Fetch-Site: cross-site", False),
        ("/", own, True),
        ("/", f"Sec-Fetch-Site: cross-site\r\n{own}", False),
        ("/", "Origin: null", False),
        ("/", "Origin: http://gateway.test.evil.example", False),
        ("/", app, False),
        ("/api", app, True),
        ("/api", f"Sec-Fetch-Site: cross-site\r\n{app}", True),
        ("/api", "Origin: https://evil.example", False),
        # Its pages may call this, but without cookies.
        ("/read", app, False),
        ("/known", app, False),
        ("/", "X-Other: 1", False),
    ]:
        answer = post(running, target, good, field)
        if passes:
            assert told(answer)["x-user-id"] == ["ada"], (target, field)
        else:
            assert code(answer) == (403, "cross_site_request"), (target, field)
        assert told(running.get(target, good, field))["x-user-id"] == ["ada"]
    # Without a session, nothing is sent in anybody's name.
    assert told(post(running, "/known", app))
    assert told(post(running, "/known", cookie(x=1), app))


def test_other_sites_open_no_websocket(running: Running, stand_in: StandIn) -> None:
    assert stand_in
    for origin, status in [("http://evil.example", 403), ("http://gateway.test", 200)]:
        # The service answers a handshake as any other request.
        answer = running.raw(handshake(f"Origin: {origin}", f"{cookie()}; theme=dark"), 1)[0]
        assert answer.status == status, origin
    fields = told(answer)
    assert (fields["upgrade"], fields["cookie"]) == (["websocket"], ["theme=dark"])


def test_a_revocation_ends_a_session(running: Running, stand_in: StandIn) -> None:
    assert stand_in
    one, other = cookie(i="one"), cookie(i="other")
    assert told(running.get("/", one)) and told(running.get("/", other))
    running.gateway.revoke(jti="one")
    assert code(running.get("/", one)) == (401, "unauthorized")
    assert told(running.get("/", other))
    running.gateway.revoke(user="ada")
    assert code(running.get("/", other)) == (401, "unauthorized")
    assert told(running.get("/", cookie(i="later", b=int(time.time()) + 5)))


def test_it_survives_a_reload(running: Running, echo: EchoInstance, stand_in: StandIn) -> None:
    assert stand_in
    good = cookie()
    assert told(running.get("/", good))
    rotated = {**AUTH["oidc"], "cookie_secret": ["another secret of more than thirty-two bytes", SECRET]}
    running.apply({"auth": {"oidc": rotated}, "routes": ROUTES}, echo=echo)
    assert told(running.get("/", good))
    running.apply({"auth": {"oidc": {**rotated, "cookie_secret": rotated["cookie_secret"][:1]}}}, echo=echo)
    assert code(running.get("/", good)) == (401, "unauthorized")


def test_several_issuers_are_chosen_by_route(gateway: Start, echo: EchoInstance, stand_in: StandIn) -> None:
    stand_in.says = lambda _: Response(status=302, headers={"Location": "/"})
    staff = {**AUTH["oidc"], "name": "staff", "path": "/staff-login"}
    customers = {**AUTH["oidc"], "name": "customers"}
    routes = [
        {"name": "a", "prefix": "/a", "service": "echo", "auth": "customers"},
        {"name": "b", "prefix": "/b", "service": "echo", "auth": "staff"},
    ]
    running = gateway({"auth": {"oidc": [customers, staff]}, "routes": routes}, echo=echo)
    for path, name in [("/a", "customers"), ("/b", "staff")]:
        for seal, status in [(name, 200), ("oidc", 401), ({"customers": "staff", "staff": "customers"}[name], 401)]:
            line = f"Cookie: pylae-{name}={sealed(f'session {seal}')}; pylae-oidc=stays"
            answer = running.get(path, line)
            assert answer.status == status, (path, seal)
            if status == 200:
                assert told(answer)["cookie"] == ["pylae-oidc=stays"]
