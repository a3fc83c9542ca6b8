"""Who gets in, over real sockets: tokens, keys, passwords, and what instances are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from pylae import ConfigError, Gateway
from pylae.cli import main
from support.instance import EchoInstance
from support.peer import Message
from support.running import Running
from support.tokens import SECRET, SIGNED, bearer, segment, token

Start = Callable[..., Running]

KEY, OTHER_KEY = "a-long-random-key-1", "a-long-random-key-2"
# Costs are far too low for anything but a test, but that of SLOW, which is as usual.
HASHES = {
    "correct horse": "$argon2id$v=19$m=64,t=1,p=1$ggIQNu2DD2rHP1C01g5C3g$YFUy9Bwxr+f+Z16LDdU2qwXJkqYupQLdPcV1tzSWMp0",
    "battery: staple": "$argon2id$v=19$m=64,t=1,p=1$muw4XwSGUILA7cEkEDlwqQ$R0RbumAicOCmkJNUZ7dx6vOLS8FXIR58kBbADqhlQ6c",
    "battery staple": "$2b$04$Da/6Z8hgKfQsJ6aiYswYh./5wPm4c5j3J9VYDc5ZGjfVOnZSX1KVe",
}
SLOW = "$argon2id$v=19$m=19456,t=2,p=1$eZCrZ7Xr4BYJzVk5p8APrA$e9mJ8uxFk3grwxYLlHHIXuMo+EL/fkxNTY+KgQebOuk"
JWT: dict[str, Any] = {"jwt": {"secret": SECRET}}


def told(answer: Message) -> dict[str, list[str]]:
    """The fields that the instance got."""
    fields: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body)["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def basic(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def signed(header: bytes, claims: bytes = b'{"sub":"7","exp":9999999999}') -> str:
    """A token that is signed as it should be, whatever its parts are."""
    message = f"{segment(header)}.{segment(claims)}"
    return f"{message}.{segment(hmac.digest(SECRET.encode(), message.encode(), 'sha256'))}"


def test_a_token_lets_its_user_in(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"auth": JWT}, echo=echo)
    text = token(role="customer", email="ada@example.com", permissions=["a"])
    for _ in range(3):
        answer = running.get("/", bearer(text))
        assert answer.status == 200
        fields = told(answer)
        assert (fields["x-user-id"], fields["x-user-role"], fields["x-user-email"]) == (
            ["7"],
            ["customer"],
            ["ada@example.com"],
        )
        assert fields["authorization"] == [f"Bearer {text}"]


def test_without_a_credential(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        {"auth": {**JWT, "realm": "shop", "basic": {"users": {"ada": HASHES["battery staple"]}}}}, echo=echo
    )
    answer = running.get("/")
    assert (answer.status, echo.count) == (401, 0)
    assert answer.all("WWW-Authenticate") == ['Bearer realm="shop"', 'Basic realm="shop", charset="UTF-8"']
    problem = json.loads(answer.body)
    assert (problem["status"], problem["type"]) == (401, "urn:pylae:error:unauthorized")
    assert answer.one("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "..",
        token("another secret of more than 32 bytes........."),
        token(exp=1),
        token(exp=None),
        token(exp=str(int(time.time()) + 60)),
        token(exp=float(10**9)),
        token(nbf=int(time.time()) + 600),
        token(sub=None),
        token(sub=["7"]),
        token(header={"alg": "none"}),
        token(header={"alg": "HS512"}),
        token(header={"crit": ["exp"]}),
        token(header={"kid": 5}),
        token() + "=",
        token() + ".x",
        token()[:-1],
        "x" * 9000,
        segment(b'{"alg":"none"}') + "." + segment(b'{"sub":"7","exp":9999999999}') + ".",
        token(SIGNED["signed"]["RS256"]["pem"]),
        signed(b'["HS256"]'),
        signed(b'["HS256","one"]'),
        signed(b'{"alg":"HS256"}', b'["7",9999999999]'),
    ],
)
def test_tokens_that_are_refused(gateway: Start, echo: EchoInstance, text: str) -> None:
    running = gateway({"auth": JWT}, echo=echo)
    answer = running.get("/", bearer(text))
    assert (answer.status, echo.count) == (401, 0)
    challenge = answer.one("WWW-Authenticate")
    assert challenge is not None
    assert challenge.startswith('Bearer realm="pylae", error="invalid_token", error_description="')


def test_a_token_of_a_megabyte(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"auth": JWT, "limits": {"max_head": "1MB"}}, echo=echo)
    assert running.get("/", bearer("x" * (2**20 - 4096))).status == 401
    assert running.get("/", bearer("x" * 2**20)).status == 431
    assert echo.count == 0


def test_two_tokens(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"auth": JWT}, echo=echo)
    assert running.get("/", bearer(token()), bearer(token())).status == 400
    assert running.get(f"/?access_token={token()}").status == 401
    assert running.get("/", f"Cookie: access_token={token()}").status == 401
    assert running.get("/", f"Connection: authorization\r\n{bearer(token())}").status == 400
    assert echo.count == 0


@pytest.mark.parametrize("name", sorted(SIGNED["signed"]))
@pytest.mark.parametrize("form", ["public_key", "jwks"])
def test_every_public_algorithm(gateway: Start, echo: EchoInstance, name: str, form: str) -> None:
    entry = SIGNED["signed"][name]
    key = entry["pem"] if form == "public_key" else {"keys": [entry["jwk"]]}
    running = gateway({"auth": {"jwt": {form: key, "algorithms": name}}}, echo=echo)
    assert told(running.get("/", bearer(entry["token"])))["x-user-id"] == ["42"]
    confused = token(entry["pem"])
    assert running.get("/", bearer(confused)).status == 401


@pytest.mark.parametrize(
    "field",
    [
        "X-User-ID: 1",
        "x_user_id: 1",
        "X_USER-ID: 1",
        "X-User-Role: admin",
        "x_user_role: admin",
        "X-User_Role: admin",
        "X-USER-EMAIL: root@example.com",
        "x_user_email: root@example.com",
    ],
)
def test_identity_names_never_reach_an_instance(gateway: Start, echo: EchoInstance, field: str) -> None:
    routes = [
        {"prefix": "/open", "service": "echo", "auth_required": False},
        {"prefix": "/either", "service": "echo", "auth_required": False, "auth": "jwt"},
        {"prefix": "/closed", "service": "echo"},
    ]
    running = gateway({"auth": JWT, "routes": routes, "trusted_proxies": ["127.0.0.1"]}, echo=echo)
    for path in ("/open", "/either"):
        fields = told(running.get(path, field))
        assert not [name for name in fields if name.replace("_", "-").startswith("x-user-")], path
    fields = told(running.get("/closed", field, bearer(token())))
    assert {name: value for name, value in fields.items() if name.replace("_", "-").startswith("x-user-")} == {
        "x-user-id": ["7"]
    }
    assert running.get("/closed", field).status == 401


def test_open_routes_ask_nobody_and_optional_ones_believe_only_good_credentials(
    gateway: Start, echo: EchoInstance
) -> None:
    routes = [
        {"prefix": "/open", "service": "echo", "auth_required": False},
        {"prefix": "/either", "service": "echo", "auth_required": False, "auth": "jwt"},
    ]
    running = gateway({"auth": JWT, "routes": routes}, echo=echo)
    assert running.get("/open", bearer("stale")).status == 200
    assert running.get("/either").status == 200
    assert running.get("/either", bearer("stale")).status == 401
    assert told(running.get("/either", bearer(token())))["x-user-id"] == ["7"]


@pytest.mark.parametrize("forward", [False, True])
def test_instances_see_no_credential_on_routes_that_do_not_ask_for_it(
    gateway: Start, echo: EchoInstance, forward: bool
) -> None:
    auth = {
        "jwt": {"secret": SECRET, "forward_credentials": forward},
        "api_key": {"query": "key", "consumers": {"batch": digest(KEY)}, "forward_credentials": forward},
        "basic": {"users": {"ada": HASHES["correct horse"]}, "forward_credentials": forward},
    }
    routes = [
        {"prefix": "/open", "service": "echo", "auth_required": False},
        {"prefix": "/either", "service": "echo", "auth_required": False, "auth": "jwt"},
        {"prefix": "/partner", "service": "echo", "auth": "jwt"},
    ]
    running = gateway({"auth": auth, "routes": routes}, echo=echo)
    user = bearer(token())
    for path, fields in (
        ("/open", (f"X-API-Key: {KEY}", user)),
        ("/open", (f"X-API-Key: {KEY}", basic("ada", "correct horse"))),
        ("/either", (f"X-API-Key: {KEY}",)),
        ("/either", (basic("ada", "correct horse"),)),
        ("/partner", (f"X-API-Key: {KEY}", user)),
    ):
        answer = running.get(f"{path}?a=1&key={KEY}", *fields)
        assert answer.status == 200
        got = told(answer)
        seen = (got.get("authorization"), got.get("x-api-key"), json.loads(answer.body)["target"])
        sent = [field.partition(": ")[2] for field in fields if field.startswith("Authorization")] or None
        key = [KEY] if any(field.startswith("X-API-Key") for field in fields) else None
        assert seen == ((sent, key, f"{path}?a=1&key={KEY}") if forward else (None, None, f"{path}?a=1"))
    # What is of no kind that is configured is the service's own business.
    assert told(running.get("/open", "Authorization: Digest x"))["authorization"] == ["Digest x"]


def test_keys_of_consumers(gateway: Start, echo: EchoInstance) -> None:
    keys = {"query": "api_key", "consumers": {"batch": {"keys": [digest(KEY), digest(OTHER_KEY)], "role": "robot"}}}
    running = gateway({"auth": {"api_key": keys}}, echo=echo)
    for target, fields in (
        ("/a?x=1", [f"X-API-Key: {KEY}"]),
        ("/a?x=1", [f"x-api-key: {OTHER_KEY}"]),
        (f"/a?api_key={KEY}&x=1", []),
        (f"/a?x=1&api%5fkey={OTHER_KEY}", []),
    ):
        answer = running.get(target, *fields)
        got = told(answer)
        assert (got["x-user-id"], got["x-user-role"]) == (["batch"], ["robot"])
        assert "x-api-key" not in got
        assert json.loads(answer.body)["target"] == "/a?x=1"
    for target, fields in (("/", ["X-API-Key: wrong"]), ("/", [f"x_api_key: {KEY}"]), ("/?api_key=", []), ("/", [])):
        answer = running.get(target, *fields)
        assert (answer.status, answer.one("WWW-Authenticate")) == (401, 'ApiKey realm="pylae"')


def test_keys_are_forwarded_where_that_is_asked_for(gateway: Start, echo: EchoInstance) -> None:
    keys = {"header": "X-Key", "forward_credentials": True, "consumers": {"batch": digest(KEY)}}
    running = gateway({"auth": {"api_key": keys, "jwt": {"secret": SECRET, "forward_credentials": False}}}, echo=echo)
    assert told(running.get("/", f"X-Key: {KEY}"))["x-key"] == [KEY]
    assert "authorization" not in told(running.get("/", bearer(token())))


def test_passwords(gateway: Start, echo: EchoInstance) -> None:
    users = {
        "ada": {"password_hash": HASHES["correct horse"], "role": "admin"},
        "bob": HASHES["battery: staple"],
        "cy": HASHES["battery staple"],
    }
    running = gateway({"auth": {"basic": {"users": users}}}, echo=echo)
    for _ in range(2):
        got = told(running.get("/", basic("ada", "correct horse")))
        assert (got["x-user-id"], got["x-user-role"]) == (["ada"], ["admin"])
        assert "authorization" not in got
    assert told(running.get("/", basic("bob", "battery: staple")))["x-user-id"] == ["bob"]
    assert told(running.get("/", basic("cy", "battery staple")))["x-user-id"] == ["cy"]
    for name, password in (("ada", "battery: staple"), ("ada", ""), ("eve", "correct horse"), ("", "")):
        assert running.get("/", basic(name, password)).status == 401
    assert running.get("/", "Authorization: Basic !!!").status == 401


def test_passwords_do_not_hold_up_others(gateway: Start, echo: EchoInstance) -> None:
    users = {"ada": SLOW}
    running = gateway({"auth": {**JWT, "basic": {"users": users}}}, echo=echo)
    with running.connect() as waiting:
        waiting.send(f"GET /slow HTTP/1.1\r\nHost: x\r\n{basic('ada', 'wrong')}\r\n\r\n".encode())
        # One worker; while the password is verified it serves others.
        assert running.get("/fast", bearer(token())).status == 200
        assert waiting.read_answer().status == 401


def test_failures_of_an_address_are_limited(gateway: Start, echo: EchoInstance) -> None:
    settings = {"auth": {**JWT, "failure_limit": "5/minute"}, "trusted_proxies": ["127.0.0.1"]}
    running = gateway(settings, echo=echo)
    good = bearer(token())
    assert running.get("/", good, "X-Forwarded-For: 192.0.2.1").status == 200
    for _ in range(5):
        assert running.get("/", bearer("wrong"), "X-Forwarded-For: 192.0.2.1").status == 401
    answer = running.get("/", bearer("wrong"), "X-Forwarded-For: 192.0.2.1")
    assert (answer.status, 0 < int(answer.one("Retry-After") or 0) <= 12) == (429, True)
    assert running.get("/", good, "X-Forwarded-For: 192.0.2.1").status == 200
    assert running.get("/", bearer("wrong"), "X-Forwarded-For: 192.0.2.2").status == 401


def test_failures_of_a_site_are_limited_however_many_networks_it_has(gateway: Start, echo: EchoInstance) -> None:
    """A client with a /48 has 65,536 networks of the size that one client has at least."""
    settings = {
        "listeners": ["[::1]:0"],
        "auth": {**JWT, "failure_limit": "2/hour"},
        "trusted_proxies": ["::1"],
    }
    running = gateway(settings, echo=echo)

    def guess(address: str) -> int:
        return running.get("/", bearer("wrong"), f"X-Forwarded-For: {address}").status

    # 8 of one /56, and 32 of one /48.
    assert [guess(f"2001:db8:1:{number:x}::1") for number in range(9)] == [401] * 8 + [429]
    assert [guess(f"2001:db8:1:{number:x}00::1") for number in range(1, 26)] == [401] * 24 + [429]
    assert running.get("/", bearer(token()), "X-Forwarded-For: 2001:db8:1:ffff::1").status == 429
    assert running.get("/", bearer(token()), "X-Forwarded-For: 2001:db8:2::1").status == 200
    assert [guess("2001:db8:2::1") for _ in range(3)] == [401, 401, 429]
    assert echo.count == 1


def test_routes_choose_authenticators(gateway: Start, echo: EchoInstance) -> None:
    auth = {
        "jwt": [{"secret": SECRET}, {"name": "partner", "secret": "the secret of a partner, also long enough"}],
        "api_key": {"consumers": {"batch": digest(KEY)}},
    }
    routes = [
        {"path": "/any", "service": "echo"},
        {"path": "/own", "service": "echo", "auth": "jwt"},
        {"path": "/partner", "service": "echo", "auth": "partner|api_key"},
    ]
    running = gateway({"auth": auth, "routes": routes}, echo=echo)
    own, partner, key = bearer(token()), bearer(token("the secret of a partner, also long enough")), f"X-API-Key: {KEY}"
    allowed = {"/any": (200, 200, 200), "/own": (200, 401, 401), "/partner": (401, 200, 200)}
    for path, expected in allowed.items():
        assert tuple(running.get(path, field).status for field in (own, partner, key)) == expected


def test_revocation(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"auth": JWT}, echo=echo)
    now = int(time.time())
    one, two, other = (bearer(token(jti=jti, sub=user, iat=now)) for jti, user in (("a", "7"), ("b", "7"), ("c", "8")))
    assert [running.get("/", field).status for field in (one, two, other)] == [200, 200, 200]
    running.gateway.revoke(jti="a")
    assert [running.get("/", field).status for field in (one, two, other)] == [401, 200, 200]
    running.gateway.revoke(user="7")
    assert [running.get("/", field).status for field in (one, two, other)] == [401, 401, 200]
    running.apply({"auth": JWT}, echo=echo)
    assert [running.get("/", field).status for field in (one, two, other)] == [401, 401, 200]
    assert running.get("/", bearer(token(jti="d", iat=now + 5))).status == 200


def test_a_changed_secret_holds_at_once(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"auth": JWT}, echo=echo)
    old, new = bearer(token()), bearer(token("another secret of more than 32 bytes........."))
    assert (running.get("/", old).status, running.get("/", new).status) == (200, 401)
    both = [SECRET, "another secret of more than 32 bytes........."]
    running.apply({"auth": {"jwt": {"secret": both}}}, echo=echo)
    assert (running.get("/", old).status, running.get("/", new).status) == (200, 200)
    running.apply({"auth": {"jwt": {"secret": both[1]}}}, echo=echo)
    assert (running.get("/", old).status, running.get("/", new).status) == (401, 200)


def test_claims_that_are_asked_for(gateway: Start, echo: EchoInstance) -> None:
    claims = {"id": "uid", "role": "realm_access.roles", "permissions": "scope", "email": "mail"}
    jwt = {
        "secret": SECRET, "issuer": "me", "audience": ["you", "them"], "required_claims": ["exp", "tenant"],
        "leeway": 600, "claims": claims,
    }  # fmt: skip
    running = gateway({"auth": {"jwt": jwt}}, echo=echo)
    right = {"iss": "me", "aud": ["x", "them"], "tenant": "blue", "uid": 42, "realm_access": {"roles": ["a", "b"]}}
    got = told(running.get("/", bearer(token(**right))))
    assert (got["x-user-id"], got["x-user-role"]) == (["42"], ["a,b"])
    for wrong in ({"iss": "you"}, {"aud": "me"}, {"aud": None}, {"tenant": None}, {"uid": None}, {"uid": 4.5}):
        assert running.get("/", bearer(token(**{**right, **wrong}))).status == 401, wrong
    now = time.time()
    assert running.get("/", bearer(token(**right, exp=now - 300))).status == 200
    assert running.get("/", bearer(token(**right, exp=now - 601))).status == 401


def test_credentials_appear_nowhere(
    gateway: Start,
    echo: EchoInstance,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    good, wrong = token(), token("another secret of more than 32 bytes.........")
    password = "correct horse"
    log_file = tmp_path / "access.log"
    config = {
        "auth": {
            **JWT,
            "api_key": {"query": "api_key", "consumers": {"batch": digest(KEY)}},
            "basic": {"users": {"ada": HASHES[password]}},
        },
        "policies": {"access_log": {"output": str(log_file)}},
    }
    answers: list[str] = []
    with caplog.at_level(logging.DEBUG):
        running = gateway(config, echo=echo)
        for target, field in (
            ("/", bearer(good)), ("/", bearer(wrong)), ("/", f"X-API-Key: {KEY}"), ("/", f"X-API-Key: {KEY}x"),
            (f"/?api_key={KEY}", "A: b"), (f"/?api_key={KEY}x", "A: b"), ("/", basic("ada", password)),
            ("/", basic("ada", password + "x")), ("/", bearer(good + "\x01")),
        ):  # fmt: skip
            answer = running.get(target, field)
            answers.append(answer.raw_head.decode("latin-1") + (answer.body.decode() if answer.status != 200 else ""))
        stats = json.dumps(running.gateway.stats())
        running.stop(drain=True)
    file = tmp_path / "pylae.yaml"
    file.write_text(json.dumps({**config, "services": {"echo": {"instances": [echo.url]}}, "routes": [
        {"prefix": "/", "service": "echo"}]}))  # fmt: skip
    explained = []
    for options in ([], ["--json"], ["--all"]):
        for field in (bearer(good), bearer(wrong), f"X-API-Key: {KEY}", basic("ada", password)):
            result = CliRunner().invoke(main, ["explain", str(file), "GET", f"/?api_key={KEY}", "-H", field, *options])
            assert result.exit_code == 0, result.output
            explained.append(result.output)
    printed = "".join(capfd.readouterr())
    everything = "\n".join(
        [*answers, stats, caplog.text, *explained, printed, log_file.read_text(), repr(running.gateway.config)]
    )
    secrets = [SECRET, KEY, password, good, wrong, good.rpartition(".")[2], wrong.rpartition(".")[2], HASHES[password]]
    secrets += [base64.b64encode(f"ada:{password}".encode()).decode()]
    assert [secret for secret in secrets if secret in everything] == []


def test_errors_of_a_configuration_show_no_secret(tmp_path: Any) -> None:
    wrong = {
        "auth": {
            "jwt": {"secret": "hunter2-hunter2", "algorithms": ["RS256", "HS257"]},
            "api_key": {"consumers": {"batch": "hunter2-key"}},
            "basic": {"users": {"ada": "hunter2-password"}},
        },
        "routes": [],
    }
    file = tmp_path / "pylae.yaml"
    file.write_text(json.dumps(wrong))
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file)
    paths = {problem.path for problem in caught.value.problems}
    assert {"auth.jwt.algorithms[1]", "auth.api_key.consumers.batch", "auth.basic.users.ada"} <= paths
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Gateway(**wrong)
    assert "hunter2" not in str(caught.value)
