"""Tokens that only the owner of a key may use, in the hands of others: DPoP and certificates of clients."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from support.login_attacks.stage import Attempt, Stage, attacks
from support.proofs import Prover
from support.tokens import segment

DPOP = "RFC 9449, section"
CERTIFICATE = "RFC 8705, section 3"
OWNER, THIEF = Prover(), Prover()
PATH = "/tokens"


def token(stage: Stage, **claims: Any) -> str:
    """An access token of ada (RFC 9068), signed by the provider."""
    now = int(time.time())
    known = {"iss": stage.provider.issuer, "aud": "shop", "sub": "ada", "iat": now, "exp": now + 600, **claims}
    return stage.provider.sign({name: value for name, value in known.items() if value is not None}, typ="at+jwt")


def bound(stage: Stage) -> str:
    """One that is bound to the key of its owner."""
    return token(stage, cnf={"jkt": OWNER.thumbprint})


def _ask(stage: Stage, sent: str, *proofs: str, scheme: str = "DPoP", method: str = "GET") -> httpx.Response:
    fields = [("Authorization", f"{scheme} {sent}"), *(("DPoP", proof) for proof in proofs)]
    return httpx.request(method, f"{stage.running.url}{PATH}", headers=fields, verify=False, trust_env=False)


def _proof(**changed: Any) -> Attempt:
    """A proof with other claims, or with another `header`, or by another `key`."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        sent = bound(stage)
        given = {name: one(stage) if callable(one) else one for name, one in changed.items()} if is_wrong else {}
        key = given.pop("key", OWNER)
        return _ask(stage, sent, key.proof(sent, f"{stage.running.url}{PATH}", **given))

    return attempt


def _sent(change: Callable[[Stage, str, str], httpx.Response]) -> Attempt:
    """Token and proof are as they should be, and sent otherwise."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        sent = bound(stage)
        proof = OWNER.proof(sent, f"{stage.running.url}{PATH}")
        return change(stage, sent, proof) if is_wrong else _ask(stage, sent, proof)

    return attempt


def _replayed(stage: Stage, sent: str, proof: str) -> httpx.Response:
    _ask(stage, sent, proof)
    return _ask(stage, sent, proof)


def _unbound(stage: Stage, is_wrong: bool) -> httpx.Response:
    """A token without a key, sent with a proof that proves nothing of it."""
    sent = token(stage) if is_wrong else bound(stage)
    return _ask(stage, sent, OWNER.proof(sent, f"{stage.running.url}{PATH}"))


def _later(seconds: int) -> Callable[[Stage], int]:
    return lambda _: int(time.time()) + seconds


def _at(change: Callable[[str], str]) -> Callable[[Stage], str]:
    return lambda stage: change(f"{stage.running.url}{PATH}")


def _certified(shown: str | None, *, claim: Mapping[str, str] | None = None) -> Attempt:
    """A token that is bound to the certificate of `owner`, from a connection with that of another client, or none."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        confirmation = claim if is_wrong and claim else {"x5t#S256": stage.thumbprint("owner")}
        context = stage.context(shown if is_wrong else "owner")
        fields = {"Authorization": f"Bearer {token(stage, cnf=confirmation)}"}
        return httpx.get(f"{stage.secure_url}{PATH}", headers=fields, verify=context, trust_env=False)

    return attempt


def _forwarded(stage: Stage, is_wrong: bool) -> httpx.Response:
    """The certificate is claimed in a field, as a proxy in front would do it (RFC 9440)."""
    fields = {"Authorization": f"Bearer {token(stage, cnf={'x5t#S256': stage.thumbprint('owner')})}"}
    context = stage.context(None if is_wrong else "owner")
    fields |= {"Client-Cert": f":{stage.certificate('owner')}:", "X-SSL-Client-Cert": stage.certificate("owner")}
    return httpx.get(f"{stage.secure_url}{PATH}", headers=fields, verify=context, trust_env=False)


PRIVATE = {**OWNER.jwk, "d": "AAAA"}
ATTACKS = attacks(
    "token",
    (
        "the proof of another key",
        f"{DPOP} 4.3",
        "the token is bound to another key than the proof's",
        _proof(key=THIEF),
    ),
    (
        "the proof says another key than signs it",
        f"{DPOP} 4.3",
        "the proof's signature does not match",
        _proof(key=THIEF, header={"jwk": OWNER.jwk}),
    ),
    ("another type of proof", f"{DPOP} 4.2", "the proof's type (typ) is not dpop+jwt", _proof(header={"typ": "JWT"})),
    (
        "a proof without a signature",
        f"{DPOP} 4.3",
        "the proof's algorithm is not accepted",
        _proof(header={"alg": "none"}),
    ),
    ("a proof with a secret", f"{DPOP} 4.3", "the proof's algorithm is not accepted", _proof(header={"alg": "HS256"})),
    ("a proof without a key", f"{DPOP} 4.3", "the proof is no JWT with", _proof(header={"jwk": None})),
    ("a proof with a private key", f"{DPOP} 4.3", "the proof shows a private key", _proof(header={"jwk": PRIVATE})),
    ("a proof without an id", f"{DPOP} 4.2", "the proof is no JWT with", _proof(jti=None)),
    ("a proof for another method", f"{DPOP} 4.3", "the proof is for another method (htm)", _proof(htm="POST")),
    ("a proof without a method", f"{DPOP} 4.2", "the proof is no JWT with", _proof(htm=None)),
    (
        "a proof for another path",
        f"{DPOP} 4.3",
        "the proof is for another address (htu)",
        _proof(htu=_at(lambda url: f"{url}/other")),
    ),
    (
        "a proof for another host",
        f"{DPOP} 4.3",
        "the proof is for another address (htu)",
        _proof(htu=_at(lambda url: url.replace("127.0.0.1", "evil.example"))),
    ),
    (
        "a proof for another scheme",
        f"{DPOP} 4.3",
        "the proof is for another address (htu)",
        _proof(htu=_at(lambda url: url.replace("http:", "https:"))),
    ),
    ("a proof without an address", f"{DPOP} 4.2", "the proof is no JWT with", _proof(htu=None)),
    ("an old proof", f"{DPOP} 11.1", "the proof is too old (iat)", _proof(iat=_later(-3600))),
    ("a proof of tomorrow", f"{DPOP} 11.1", "the proof is from the future (iat)", _proof(iat=_later(86400))),
    ("a proof without a time", f"{DPOP} 4.2", "the proof is no JWT with", _proof(iat=None)),
    (
        "a proof for another token",
        f"{DPOP} 4.3",
        "the proof is for another token (ath)",
        _proof(ath=segment(hashlib.sha256(b"other").digest())),
    ),
    ("a proof for no token", f"{DPOP} 4.3", "it has no ath", _proof(ath=None)),
    ("a proof used before", f"{DPOP} 11.1", "the proof was used before", _sent(_replayed)),
    ("no proof", f"{DPOP} 7.1", "the request has no proof (DPoP)", _sent(lambda stage, sent, _: _ask(stage, sent))),
    (
        "two proofs",
        f"{DPOP} 4.3",
        "more than one DPoP field",
        _sent(lambda stage, sent, proof: _ask(stage, sent, proof, proof)),
    ),
    (
        "as a bearer token",
        f"{DPOP} 7.2",
        "it must be sent as DPoP",
        _sent(lambda stage, sent, _: _ask(stage, sent, scheme="Bearer")),
    ),
    (
        "as a bearer token with its proof",
        f"{DPOP} 7.2",
        "it must be sent as DPoP",
        _sent(lambda stage, sent, proof: _ask(stage, sent, proof, scheme="Bearer")),
    ),
    ("a token without a key", f"{DPOP} 7.1", "the token is not bound to a key of DPoP", _unbound),
    ("the certificate of another client", CERTIFICATE, "another client certificate", _certified("thief")),
    ("no certificate", CERTIFICATE, "the connection has none", _certified(None)),
    ("a certificate in a field", CERTIFICATE, "the connection has none", _forwarded),
    (
        "bound to something that nobody knows",
        "RFC 7800, section 3.1",
        "(cnf) in a way that is not understood",
        _certified("owner", claim={"jwk": "x"}),
    ),
)
