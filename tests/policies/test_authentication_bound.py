"""Tokens that only the owner of a key may use, over real sockets: DPoP (RFC 9449) and certificates (RFC 8705)."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pylae import ConfigError, Gateway
from pylae.cli import main
from support.h2client import FramePeer
from support.instance import EchoInstance
from support.peer import Message
from support.proofs import Prover, proven
from support.running import Running
from support.tls import Authority, secure
from support.tokens import SECRET, bearer, segment, token

Start = Callable[..., Running]

URL = "http://gateway.test/orders"
"""What `Running.get` asks for."""


def auth(**jwt: Any) -> dict[str, Any]:
    return {"auth": {"jwt": {"secret": SECRET, **jwt}, "failure_limit": None}}


def told(answer: Message) -> dict[str, str]:
    """The fields that the instance got, in lower case."""
    return {name.lower(): value for name, value in json.loads(answer.body)["headers"]}


def error(answer: Message) -> str:
    """The scheme and the error of the first challenge."""
    assert answer.status == 401, answer
    scheme, _, rest = answer.all("WWW-Authenticate")[0].partition(" ")
    found = re.search(r'error="(\w+)"', rest)
    return f"{scheme} {found[1] if found else ''}"


@pytest.fixture
def prover() -> Prover:
    return Prover()


def test_a_proof_is_good_for_one_request(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    """RFC 9449 sections 7.1 and 11.1: also for a token that the gateway remembers, and after a reload."""
    running = gateway({**auth(), "workers": 2}, echo=echo)
    text = prover.token()
    for _ in range(3):
        proof = prover.proof(text, URL)
        assert running.get("/orders", *proven(text, proof)).status == 200
        for _ in range(3):
            assert error(running.get("/orders", *proven(text, proof))) == "DPoP invalid_dpop_proof"
    proof = prover.proof(text, URL)
    assert running.get("/orders?a=b", *proven(text, proof)).status == 200
    running.apply({**auth(dpop={"max_age": "2m"}), "workers": 2}, echo=echo)
    assert error(running.get("/orders", *proven(text, proof))) == "DPoP invalid_dpop_proof"
    assert running.get("/orders", *proven(text, prover.proof(text, URL))).status == 200


ATTACKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "typ": ("4.2", {"header": {"typ": "JWT"}}, "invalid_dpop_proof"),
    "alg none": ("4.3 step 5", {"header": {"alg": "none"}}, "invalid_dpop_proof"),
    "alg symmetric": ("4.3 step 5", {"header": {"alg": "HS256"}}, "invalid_dpop_proof"),
    "no jwk": ("4.3 step 4", {"header": {"jwk": None}}, "invalid_dpop_proof"),
    "private jwk": ("4.3 step 7", {"header": {"jwk": {**Prover().jwk, "d": "AAAA"}}}, "invalid_dpop_proof"),
    "jwk of another": ("4.3 step 12", {"header": {"jwk": Prover().jwk}}, "invalid_token"),
    "no jti": ("4.3 step 3", {"jti": None}, "invalid_dpop_proof"),
    "long jti": ("11.1", {"jti": "x" * 257}, "invalid_dpop_proof"),
    "htm": ("4.3 step 8", {"htm": "POST"}, "invalid_dpop_proof"),
    "htu scheme": ("4.3 step 9", {"htu": "https://gateway.test/orders"}, "invalid_dpop_proof"),
    "htu host": ("4.3 step 9", {"htu": "http://gateway.tes/orders"}, "invalid_dpop_proof"),
    "htu port": ("4.3 step 9", {"htu": "http://gateway.test:81/orders"}, "invalid_dpop_proof"),
    "htu path": ("4.3 step 9", {"htu": "http://gateway.test/orders/"}, "invalid_dpop_proof"),
    "old": ("4.3 step 11", {"iat": int(time.time()) - 3600}, "invalid_dpop_proof"),
    "future": ("4.3 step 11", {"iat": int(time.time()) + 3600}, "invalid_dpop_proof"),
    "no ath": ("4.3 step 12", {"ath": None}, "invalid_dpop_proof"),
    "ath of another": ("4.3 step 12", {"ath": segment(hashlib.sha256(b"x").digest())}, "invalid_dpop_proof"),
}
"""What differs from a proof that passes: by RFC 9449 section, with the error."""


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_proof_that_differs_in_one_thing(gateway: Start, echo: EchoInstance, prover: Prover, name: str) -> None:
    _, changes, expected = ATTACKS[name]
    running = gateway(auth(), echo=echo)
    text = prover.token()
    claims = {"jti": "one", **changes}
    answer = running.get("/orders", *proven(text, prover.proof(text, URL, **claims)))
    assert (error(answer), echo.count) == (f"DPoP {expected}", 0)
    assert running.get("/orders", *proven(text, prover.proof(text, URL, jti="one"))).status == 200


def test_how_a_token_and_its_proof_are_sent(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    """RFC 9449 sections 4.3 step 1 and 7.2: exactly one proof, and no bound token as a bearer token."""
    running = gateway(auth(), echo=echo)
    text, free = prover.token(), token()
    assert error(running.get("/orders", *proven(text))) == "DPoP invalid_dpop_proof"
    two = (prover.proof(text, URL), prover.proof(text, URL))
    assert error(running.get("/orders", *proven(text, *two))) == "DPoP invalid_dpop_proof"
    assert error(running.get("/orders", *proven(text, ", ".join(two)))) == "DPoP invalid_dpop_proof"
    for _ in range(2):
        assert error(running.get("/orders", bearer(text), f"DPoP: {two[0]}")) == "DPoP invalid_token"
    assert error(running.get("/orders", *proven(free, prover.proof(free, URL)))) == "DPoP invalid_token"
    changed = two[0][:-4] + ("AAAA" if two[0][-4:] != "AAAA" else "BBBB")
    assert error(running.get("/orders", *proven(text, changed))) == "DPoP invalid_dpop_proof"
    assert echo.count == 0
    # None of that has used it up.
    assert running.get("/orders", *proven(text, two[0])).status == 200
    assert running.get("/orders", bearer(free)).status == 200


@pytest.mark.parametrize("forward", [True, False])
def test_what_instances_get(gateway: Start, echo: EchoInstance, prover: Prover, forward: bool) -> None:
    running = gateway(auth(forward_credentials=forward), echo=echo)
    text = prover.token()
    proof = prover.proof(text, URL)
    fields = told(running.get("/orders", *proven(text, proof)))
    assert fields["x-user-id"] == "7"
    expected = (f"DPoP {text}", proof) if forward else (None, None)
    assert (fields.get("authorization"), fields.get("dpop")) == expected


def test_behind_a_trusted_proxy(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    """RFC 9449 section 4.3 step 9: the address is the one that the client has asked the proxy for."""
    running = gateway({**auth(), "trusted_proxies": ["127.0.0.1"]}, echo=echo)
    text = prover.token()
    outside = ("X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
    for url, passes in (
        ("https://shop.example/orders", True),
        ("https://shop.example:443/%6Frders", True),
        (URL, False),
    ):
        answer = running.get("/orders", *proven(text, prover.proof(text, url)), *outside)
        assert (answer.status == 200) is passes
    running = gateway(auth(), echo=echo)
    for url, passes in (("https://shop.example/orders", False), (URL, True)):
        answer = running.get("/orders", *proven(text, prover.proof(text, url)), *outside)
        assert (answer.status == 200) is passes


def test_proofs_with_nonces(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    """RFC 9449 sections 8 and 9; a nonce of the same secret is good on another node."""
    secret = "the same secret on all nodes, 32 bytes"
    nodes = [gateway(auth(dpop={"nonce": True, "nonce_secret": secret}), echo=echo) for _ in range(2)]
    text = prover.token()
    answer = nodes[0].get("/orders", *proven(text, prover.proof(text, URL)))
    assert (error(answer), answer.one("Cache-Control")) == ("DPoP use_dpop_nonce", "no-store")
    nonce = answer.one("DPoP-Nonce")
    for node in nodes:
        assert node.get("/orders", *proven(text, prover.proof(text, URL, nonce=nonce))).status == 200
    assert error(nodes[0].get("/orders", *proven(text, prover.proof(text, URL, nonce="x")))) == "DPoP use_dpop_nonce"
    other = gateway(auth(dpop={"nonce": True}), echo=echo)
    assert error(other.get("/orders", *proven(text, prover.proof(text, URL, nonce=nonce)))) == "DPoP use_dpop_nonce"


def test_what_clients_without_a_token_are_told(gateway: Start, echo: EchoInstance) -> None:
    """RFC 9449 section 7.1."""
    bearers, proofs = 'Bearer realm="pylae"', 'DPoP algs="ES256"'
    for dpop, expected in (
        (None, [bearers]),
        ({"algorithms": "ES256"}, [bearers, proofs]),
        ({"algorithms": "ES256", "required": True}, [proofs]),
    ):
        running = gateway(auth(dpop=dpop), echo=echo)
        assert running.get("/orders").all("WWW-Authenticate") == expected


def test_proofs_are_required(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    running = gateway(auth(dpop={"required": True}), echo=echo)
    assert error(running.get("/orders", bearer(token()))) == "DPoP invalid_token"
    text = prover.token()
    assert running.get("/orders", *proven(text, prover.proof(text, URL))).status == 200


def test_a_revoked_token_has_no_use_for_proofs(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    running = gateway(auth(), echo=echo)
    one, other = prover.token(jti="one"), prover.token(jti="other")
    assert running.get("/orders", *proven(one, prover.proof(one, URL))).status == 200
    running.gateway.revoke(jti="one")
    assert error(running.get("/orders", *proven(one, prover.proof(one, URL)))) == "DPoP invalid_token"
    assert running.get("/orders", *proven(other, prover.proof(other, URL))).status == 200


def test_over_http_2(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    running = gateway({**auth(), "listeners": [{"address": "127.0.0.1:0", "http2": True}]}, echo=echo)
    text = prover.token()
    with FramePeer(running.address) as peer:
        proof = prover.proof(text, URL)
        fields = (("authorization", f"DPoP {text}"), ("dpop", proof))
        assert [peer.get("/orders", *fields).status for _ in range(2)] == [200, 401]
        assert peer.get("/other", fields[0], ("dpop", prover.proof(text, URL))).status == 401
        assert peer.get("/orders", *fields, ("dpop", prover.proof(text, URL))).status == 401


def test_failures_of_proofs_are_limited(gateway: Start, echo: EchoInstance, prover: Prover) -> None:
    config = {"auth": {"jwt": {"secret": SECRET}, "failure_limit": "2/minute"}}
    running = gateway(config, echo=echo)
    text = prover.token()
    assert [running.get("/orders", *proven(text)).status for _ in range(3)] == [401, 401, 429]
    # It is remembered, and its owner can still use it.
    assert running.get("/orders", *proven(text, prover.proof(text, URL))).status == 200


def test_an_explanation_says_what_is_checked(echo: EchoInstance, prover: Prover, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(json.dumps({**auth(), "routes": [{"prefix": "/", "service_url": echo.url}]}))

    def explained(*fields: str) -> str:
        options = [part for field in ("Host: gateway.test", *fields) for part in ("-H", field)]
        return CliRunner().invoke(main, ["explain", str(file), "GET", "/orders", *options]).output

    text = prover.token()
    proof = prover.proof(text, URL)
    shown = explained(*proven(text, proof))
    assert "lets user 7" in shown
    assert "its token is bound to a key" in shown
    assert "it must be sent as DPoP" in explained(bearer(text))
    assert "no proof (DPoP)" in explained(*proven(text))
    assert "no connection that has one" in explained(bearer(token(cnf={"x5t#S256": segment(bytes(32))})))
    assert text not in shown
    assert proof not in shown


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def certified(authority: Authority, name: str) -> tuple[dict[str, str], str]:
    """A client certificate, and its thumbprint (RFC 8705 section 3.1)."""
    made = authority.issue(name, f"{name}.test")
    first = Path(made["cert"]).read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(first[0] + first[1])
    return made, segment(hashlib.sha256(der).digest())


def listening(authority: Authority, mode: str = "optional") -> dict[str, Any]:
    tls = {**authority.issue("gateway", "gateway.test"), "client_auth": {"ca": str(authority.file), "mode": mode}}
    return {"listeners": [{"address": "127.0.0.1:0", "tls": tls}]}


def ask(running: Running, context: ssl.SSLContext, text: str, count: int = 1) -> list[int]:
    with secure(running.address, context) as peer:
        statuses = []
        for _ in range(count):
            peer.send(f"GET / HTTP/1.1\r\nHost: gateway.test\r\n{bearer(text)}\r\n\r\n".encode())
            statuses.append(peer.read_answer().status)
        return statuses


def test_a_token_is_for_one_certificate(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    """RFC 8705 section 3: also once the token is remembered, from other connections."""
    running = gateway({**auth(), **listening(authority)}, echo=echo)
    (own, thumbprint), (other, _) = certified(authority, "own"), certified(authority, "other")
    text = token(cnf={"x5t#S256": thumbprint})
    assert ask(running, authority.context(**other), text) == [401]
    assert ask(running, authority.context(), text) == [401]
    assert ask(running, authority.context(**own), text, 2) == [200, 200]
    assert ask(running, authority.context(**other), text) == [401]
    assert ask(running, authority.context(), text) == [401]
    # Not bound: anybody's.
    assert ask(running, authority.context(), token()) == [200]


def test_certificates_are_required(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway({**auth(certificate_bound="required"), **listening(authority)}, echo=echo)
    own, thumbprint = certified(authority, "own")
    assert ask(running, authority.context(**own), token()) == [401]
    assert ask(running, authority.context(**own), token(cnf={"x5t#S256": thumbprint})) == [200]


@pytest.mark.parametrize("cnf", [{}, "x", {"kid": "1"}, {"jku": "https://keys.test/"}, {"jkt": "short"}])
def test_a_binding_of_another_kind(gateway: Start, echo: EchoInstance, prover: Prover, cnf: object) -> None:
    """RFC 7800 section 3.1: what is not understood must not make a bearer token of it."""
    running = gateway(auth(), echo=echo)
    assert error(running.get("/orders", bearer(token(cnf=cnf)))) == "Bearer invalid_token"
    text = prover.token()
    assert running.get("/orders", *proven(text, prover.proof(text, URL))).status == 200


@pytest.mark.parametrize(
    ("jwt", "said"),
    [
        ({"dpop": {"max_age": "2h"}}, "1 second to 1 hour"),
        ({"dpop": {"algorithms": "HS256"}}, "HS256"),
        ({"dpop": {"algorithms": []}}, "algorithms"),
        ({"dpop": {"nonce": True, "nonce_secret": "short"}}, "32 bytes"),
        ({"dpop": {"nonce_secret": "x" * 32}}, "nonce: true"),
        ({"certificate_bound": "required"}, "no listener asks clients for a certificate"),
        ({"certificate_bound": "optional"}, "certificate_bound"),
    ],
)
def test_settings_that_are_refused(echo: EchoInstance, jwt: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Gateway(**auth(**jwt), routes=[{"prefix": "/", "service_url": echo.url}]).check()
