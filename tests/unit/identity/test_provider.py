"""What a provider says of itself and gives: it is checked before anything of it is used."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.identity.flights import Flights
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.flow import parameters
from pylae.identity.login.provider import Metadata, Provider, document_of, endpoint, read_metadata
from pylae.identity.login.refresh import due, error_of
from pylae.identity.login.tokens import TokenAnswer, token_answer
from pylae.registry.client import Reply
from pylae.settings import Oidc

ISSUER = "https://login.example"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": "https://tokens.example/token",
    "jwks_uri": f"{ISSUER}/jwks",
}


def reply(value: Any, status: int = 200, kind: str = "application/json") -> Reply:
    fields = http.client.HTTPMessage()
    fields["Content-Type"] = kind
    return Reply(status, fields, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_the_least_that_a_provider_says() -> None:
    assert read_metadata(DOCUMENT, ISSUER) == Metadata(
        authorization=f"{ISSUER}/auth",
        token="https://tokens.example/token",
        jwks=f"{ISSUER}/jwks",
        userinfo=None,
        end_session=None,
        revocation=None,
        par=None,
        requires_par=False,
        names_issuer=False,
        methods=("basic",),
        algorithms=("RS256",),
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"issuer": f"{ISSUER}/"}, "discovery_issuer"),
        ({"issuer": None}, "discovery_issuer"),
        ({"issuer": ["a"]}, "discovery_issuer"),
        ({"token_endpoint": None}, "discovery_invalid"),
        ({"token_endpoint": "http://login.example/token"}, "discovery_invalid"),
        ({"token_endpoint": "http://127.0.0.1/token"}, "discovery_invalid"),
        ({"token_endpoint": "https://a@login.example/token"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example:x/token"}, "discovery_invalid"),
        ({"token_endpoint": "https:///token"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example/token#a"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example/a b"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example/a\r\nX: y"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example/é"}, "discovery_invalid"),
        ({"token_endpoint": "https://login.example/" + "a" * 2048}, "discovery_invalid"),
        ({"token_endpoint": 1}, "discovery_invalid"),
        ({"jwks_uri": "file:///etc/passwd"}, "discovery_invalid"),
        ({"userinfo_endpoint": "javascript:alert(1)"}, "discovery_invalid"),
        ({"end_session_endpoint": "javascript:alert(1)"}, "discovery_invalid"),
        ({"code_challenge_methods_supported": ["plain"]}, "discovery_invalid"),
        ({"response_types_supported": ["id_token"]}, "discovery_invalid"),
        ({"response_types_supported": "code"}, "discovery_invalid"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "discovery_invalid"),
    ],
)
def test_what_cannot_be_used(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProviderError) as refused:
        read_metadata({**DOCUMENT, **changed}, ISSUER)
    assert refused.value.reason == reason


def test_plain_http_is_for_this_machine_only() -> None:
    local = {name: value.replace(ISSUER, "http://127.0.0.1:1") for name, value in DOCUMENT.items()}
    local["token_endpoint"] = "http://localhost:1/token"
    assert read_metadata(local, "http://127.0.0.1:1").token == "http://localhost:1/token"
    with pytest.raises(ProviderError, match="discovery_invalid"):
        read_metadata({**local, "token_endpoint": "http://login.example/token"}, "http://127.0.0.1:1")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(deadline=None)
def test_no_document_is_too_odd(value: Any) -> None:
    with pytest.raises(ProviderError):
        read_metadata(document_of(reply(value), "discovery_invalid"), ISSUER)
    with pytest.raises(ProviderError):
        token_answer(reply(value))
    assert error_of(reply(value, 400)) == "?" or value["error"].isidentifier()


GIVEN = {"access_token": "a", "token_type": "Bearer"}


def test_tokens() -> None:
    assert token_answer(reply(GIVEN)) == TokenAnswer("a", 3600, None, None)
    whole = {**GIVEN, "expires_in": "60", "refresh_token": "r", "id_token": "i", "token_type": "bearer"}
    assert token_answer(reply(whole)) == TokenAnswer("a", 60, "r", "i")
    assert token_answer(reply({**GIVEN, "expires_in": 1e300})).life < 1e9


@pytest.mark.parametrize(
    "changed",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"access_token": "é"},
        {"access_token": "a" * 65_537},
        {"token_type": "DPoP"},
        {"token_type": None},
        {"refresh_token": 1},
        {"id_token": ["a"]},
        {"expires_in": -1},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"expires_in": float("nan")},
    ],
)
def test_what_are_no_tokens(changed: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="token_response_invalid"):
        token_answer(reply({**GIVEN, **changed}))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"1", b"\xff"])
def test_answers_that_are_no_json(body: bytes) -> None:
    with pytest.raises(ProviderError, match="token_response_invalid"):
        token_answer(reply(body))
    assert error_of(reply(body, 400)) == "?"


def test_answers_that_do_not_say_that_they_are_json() -> None:
    with pytest.raises(ProviderError, match="its type is 'text/html'"):
        token_answer(reply(GIVEN, kind="text/html"))


def test_what_a_refusal_says_is_a_word() -> None:
    assert error_of(reply({"error": "invalid_grant", "error_description": "private"}, 400)) == "invalid_grant"
    for wrong in ("a b", "a\nb", "x" * 65, "é", "", 1):
        assert error_of(reply({"error": wrong}, 400)) == "?"


def test_parameters_of_a_callback() -> None:
    assert parameters("state=a&code=b%20c&x=") == {"state": "a", "code": "b c", "x": ""}
    for query in ("state=a&state=a", "code=a&state=b&code=c", "a&a"):
        with pytest.raises(IdentityError, match="parameter_repeated"):
            parameters(query)
    with pytest.raises(IdentityError, match="parameters_too_long"):
        parameters("a" * 8_193)


@pytest.mark.parametrize(
    ("life", "ahead", "wait"), [(3600, 60, 3540), (100, 60, 50), (60, 60, 30), (4, 1, 3), (1, 60, 1), (0, 60, 1)]
)
def test_tokens_are_refreshed_ahead_but_not_at_once(life: float, ahead: float, wait: int) -> None:
    assert due(TokenAnswer("a", life, "r", None), ahead, 1000.0) == 1000 + wait
    assert due(TokenAnswer("a", life, None, None), ahead, 1000.0) is None


def test_a_call_for_a_key_is_made_once() -> None:
    calls: list[int] = []

    async def run() -> None:
        flights: Flights[str, int] = Flights()
        goes_on = asyncio.Event()

        async def call() -> int:
            calls.append(1)
            await goes_on.wait()
            return len(calls)

        waiting = [asyncio.create_task(flights.run("a", call)) for _ in range(10)]
        gone = asyncio.create_task(flights.run("b", call))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        assert set(await asyncio.gather(*waiting)) == {2}
        # It is asked anew then.
        assert await flights.run("a", call) == 3
        assert flights._running == {}

    asyncio.run(run())
    assert len(calls) == 3


def test_a_failure_is_everybodys() -> None:
    async def run() -> None:
        flights: Flights[str, int] = Flights()

        async def call() -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

        found = await asyncio.gather(*(flights.run("a", call) for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in found] == ["no"] * 3
        assert flights._running == {}

    asyncio.run(run())


def test_a_provider_that_is_silent_is_left_alone_for_a_while(dead_url: str) -> None:
    now = [0.0]
    settings = Oidc(issuer=dead_url, client_id="a")
    provider = Provider(settings, Path(), clock=lambda: now[0])

    def trouble() -> str:
        with pytest.raises(ProviderError) as failed:
            asyncio.run(provider.metadata())
        return failed.value.detail

    assert "cannot be reached" in trouble()
    assert "cannot be reached" in trouble()
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        now[0] += wait - 0.1
        assert "is not asked again yet" in trouble()
        now[0] += 0.1
        assert "cannot be reached" in trouble()


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("127.0.0.1", True),
        ("[::1]", True),
        ("localhost", True),
        ("127.evil.test", False),
        ("127.0.0.1.evil.test", False),
    ],
)
def test_only_addresses_of_this_machine_go_without_tls(host: str, fits: bool) -> None:
    """A provider on this machine, for development, names its endpoints."""
    document = {"jwks_uri": f"http://{host}/keys"}
    if fits:
        assert endpoint(document, "jwks_uri", plain=True) == document["jwks_uri"]
    else:
        with pytest.raises(ProviderError):
            endpoint(document, "jwks_uri", plain=True)
