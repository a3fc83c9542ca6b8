"""Services that decide, and issuers that are asked: what clients forge, what is remembered, what is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from pylae.testing import Received, Reply
from support.login_attacks.decider import PATH, decide
from support.login_attacks.stage import Attempt, Stage, attacks, passed, seen
from support.oidc_provider import Answer

FORGED = "RFC 7239, section 8.1"
REMEMBERED = "RFC 9111, section 4.1"
INTROSPECTION = "RFC 7662, section"


def _decided(wrong: dict[str, Any], right: dict[str, Any] | None = None, *, before: bool = False) -> Attempt:
    """A request with other parts. With `before`, the verdict about the control is remembered."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        known: dict[str, Any] = {"cookie": "sid=ada", "path": PATH, **(right or {})}
        if before:
            assert passed(stage.ask(**known))
        return stage.ask(**{**known, **(wrong if is_wrong else {})})

    return attempt


def _told(name: str, value: str, path: str = "/open", cookie: str | None = None) -> Attempt:
    """A field that only the gateway may send to instances."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        if not is_wrong:
            return stage.ask("sid=ada", path=PATH)
        answer = stage.ask(cookie, path=path, **{name: value})
        assert answer.status_code == 200
        assert value not in seen(answer).values()
        return httpx.Response(401)

    return attempt


def _said(reply: Reply | Callable[[Received], Reply]) -> Attempt:
    """The service says something else."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        stage.decider.answer = reply if is_wrong else decide
        try:
            # Nothing of it is remembered: each time it is asked about another page.
            return stage.ask("sid=ada", path=f"{PATH}/{stage.number()}")
        finally:
            stage.decider.answer = decide

    return attempt


def _token(stage: Stage) -> str:
    """A new opaque token for the gateway."""
    sent = {"grant_type": "client_credentials", "scope": "orders"}
    answer = httpx.post(
        f"{stage.provider.issuer}/token", data=sent, auth=stage.credentials, verify=False, trust_env=False
    )
    return str(answer.json()["access_token"])


def _introspected(change: Callable[[Stage, str], str] | None = None, *, answer: Any = None) -> Attempt:
    """Another token, or another answer of the issuer."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        token = _token(stage)
        if is_wrong and change:
            token = change(stage, token)
        stage.provider.alter("introspection", answer if is_wrong and not change else _saying())
        try:
            return stage.ask(None, path="/introspected", Authorization=f"Bearer {token}")
        finally:
            stage.provider.mend()

    return attempt


def _saying(**members: Any) -> Any:
    """The answer with other members. That of a client has neither audience nor user."""
    return lambda _, answer: answer.saying(**{"aud": "shop", "sub": "ada", **members})


def _revoked(stage: Stage, token: str) -> str:
    revoke = f"{stage.provider.issuer}/token/revocation"
    httpx.post(revoke, data={"token": token}, auth=stage.credentials, verify=False, trust_env=False)
    return token


ATTACKS = (
    *attacks(
        "decision",
        ("nobody", FORGED, "who are you?", _decided({"cookie": None})),
        ("somebody else's session", FORGED, "who are you?", _decided({"cookie": "sid=eve"})),
        ("the user in a field", FORGED, "who are you?", _decided({"cookie": None, "Remote_User": "ada"})),
        ("the user for instances in a field", FORGED, "who are you?", _decided({"cookie": None, "X_User_ID": "ada"})),
        ("a secret page", FORGED, "not for you", _decided({"path": f"{PATH}/secret"})),
        (
            "a secret page that says it is another",
            FORGED,
            "not for you",
            _decided({"path": f"{PATH}/secret", "X_Forwarded_Uri": PATH}),
        ),
        (
            "a secret page that says it is another, in a field of others",
            FORGED,
            "not for you",
            _decided({"path": f"{PATH}/secret", "X_Original_URL": PATH, "X_Original_URI": PATH}),
        ),
        (
            "a method that says it is another",
            FORGED,
            "not for you",
            _decided({"method": "DELETE", "X_Forwarded_Method": "GET"}),
        ),
        (
            "a host that says it is another",
            FORGED,
            "not for you",
            _decided({"Host": "staff.example", "X_Forwarded_Host": "shop.example"}, {"Host": "shop.example"}),
        ),
        (
            "a secret page, spelt otherwise",
            "RFC 3986, section 6.2.2",
            "not for you",
            _decided({"path": f"{PATH}/%73ecret"}),
        ),
        (
            "a secret page by a detour",
            "RFC 3986, section 5.2.4",
            "not for you",
            _decided({"path": f"{PATH}/x/../secret"}),
        ),
        ("remembered for another path", REMEMBERED, "not for you", _decided({"path": f"{PATH}/secret"}, before=True)),
        ("remembered for another query", REMEMBERED, "not for you", _decided({"path": f"{PATH}?admin=1"}, before=True)),
        ("remembered for another method", REMEMBERED, "not for you", _decided({"method": "DELETE"}, before=True)),
        ("remembered for another host", REMEMBERED, "not for you", _decided({"Host": "staff.example"}, before=True)),
        ("remembered for another cookie", REMEMBERED, "who are you?", _decided({"cookie": "sid=eve"}, before=True)),
        (
            "remembered for two cookies",
            REMEMBERED,
            "who are you?",
            _decided({"cookie": "sid=eve; sid=ada"}, before=True),
        ),
        ("remembered for no cookie", REMEMBERED, "who are you?", _decided({"cookie": None}, before=True)),
        ("an identity on an open route", FORGED, "", _told("Remote_User", "mallory")),
        (
            "an identity on an open route, with another spelling",
            "RFC 3875, section 4.1.18",
            "",
            _told("remote-user", "mallory"),
        ),
        ("a user for instances on an open route", FORGED, "", _told("X_User_ID", "mallory")),
        ("a role for instances on an open route", FORGED, "", _told("X_User_Role", "mallory")),
        (
            "what the service says, from a client that is known",
            FORGED,
            "",
            _told("Remote_Name", "mallory", PATH, "sid=ada"),
        ),
        ("the service fails", "RFC 9110, section 15.6", "an answer cannot be used (status 500)", _said(Reply(500))),
        (
            "the service answers what nobody expects",
            "RFC 9110, section 15",
            "an answer cannot be used (status 418)",
            _said(Reply(418)),
        ),
        (
            "the service names two users",
            "RFC 9110, section 5.3",
            "remote-user is given twice",
            _said(Reply(200, headers=(("Remote-User", "ada"), ("Remote-User", "grace")))),
        ),
        (
            "the service says too much",
            "RFC 9110, section 15.6",
            "it has more than 64KB",
            _said(Reply(401, body=b"x" * 100_000)),
        ),
        (
            "a script is not led away",
            "RFC 9700, section 4.11",
            "the service does not accept the credential",
            _said(Reply(302, headers=(("Location", "https://evil.example"),))),
        ),
    ),
    *attacks(
        "introspection",
        (
            "no token of the issuer",
            f"{INTROSPECTION} 2.2",
            "the token is not active",
            _introspected(lambda *_: "guessed"),
        ),
        ("a token that was revoked", f"{INTROSPECTION} 2.2", "the token is not active", _introspected(_revoked)),
        (
            "a token with a letter more",
            f"{INTROSPECTION} 2.2",
            "the token is not active",
            _introspected(lambda _, token: f"{token}A"),
        ),
        (
            "a token that is too large",
            f"{INTROSPECTION} 4",
            "the token is not active",
            _introspected(lambda _, token: token * 500),
        ),
        ("not active", f"{INTROSPECTION} 2.2", "the token is not active", _introspected(answer=_saying(active=False))),
        (
            "active is a text",
            f"{INTROSPECTION} 2.2",
            "`active` is neither true nor false",
            _introspected(answer=_saying(active="true")),
        ),
        (
            "active is missing",
            f"{INTROSPECTION} 2.2",
            "`active` is neither true nor false",
            _introspected(answer=_saying(active=None)),
        ),
        (
            "another audience",
            f"{INTROSPECTION} 2.2",
            "the token is not active",
            _introspected(answer=_saying(aud="other")),
        ),
        (
            "over, and active all the same",
            f"{INTROSPECTION} 2.2",
            "the token is not active",
            _introspected(answer=_saying(exp=1)),
        ),
        (
            "another issuer",
            f"{INTROSPECTION} 2.2",
            "the token is not active",
            _introspected(answer=_saying(iss="https://evil.example")),
        ),
        (
            "an id that is no text",
            f"{INTROSPECTION} 2.2",
            "`sub` is not a text",
            _introspected(answer=_saying(sub=["ada"])),
        ),
        (
            "an id with a line end",
            "RFC 9110, section 5.5",
            "that cannot be passed on",
            _introspected(answer=_saying(sub="ada\r\nX-User-Role: admin")),
        ),
        (
            "bound to a key, without a proof",
            "RFC 9449, section 6.2",
            "it must be sent as DPoP",
            _introspected(answer=_saying(cnf={"jkt": "A" * 43})),
        ),
        (
            "an answer that is no JSON",
            f"{INTROSPECTION} 2.2",
            "it is not JSON",
            _introspected(answer=Answer(200, body=b"<html>")),
        ),
        (
            "an answer of another kind",
            f"{INTROSPECTION} 2.2",
            "it is not of the type application/json",
            _introspected(answer=Answer(200, (("Content-Type", "text/html"),), b'{"active": true, "sub": "ada"}')),
        ),
        (
            "an answer that is too large",
            f"{INTROSPECTION} 4",
            "it has more than 64KB",
            _introspected(answer=_saying(extra="x" * 100_000)),
        ),
        (
            "a redirect",
            "RFC 9110, section 15.4",
            "status 307",
            _introspected(answer=Answer(307, (("Location", "/token/introspection"),))),
        ),
        ("the issuer fails", f"{INTROSPECTION} 2.3", "status 500", _introspected(answer=Answer(500, body=b"{}"))),
        ("the issuer is gone", f"{INTROSPECTION} 4", "does not answer as HTTP has it", _introspected(answer=None)),
    ),
)
