"""The provider's answer by way of the browser: state, code and issuer."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx

from support.login_attacks.stage import COOKIE, Attempt, Stage, attacks, passed
from support.oidc_provider import Answer, Call, follow

STATE = "RFC 6749, section 10.12"
MIX_UP = "RFC 9207, section 2.4"
INJECTION = "RFC 9700, section 4.5"


def _changed(**wrong: str | None) -> Attempt:
    """The way back with these parameters."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            return stage.end(stage.begin(browser), **(wrong if is_wrong else {}))

    return attempt


def _added(query: str) -> Attempt:
    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            return follow(browser, stage.begin(browser).back + (query if is_wrong else "")).answer

    return attempt


def _in_another_browser(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Somebody is to be logged in as the attacker, who sends a link."""
    with stage.browser() as attacker, stage.browser() as victim:
        begun = stage.begin(attacker)
        return stage.end(replace(begun, browser=victim if is_wrong else attacker))


def _code_of_another(stage: Stage, is_wrong: bool) -> httpx.Response:
    """A stolen code in a login of one's own. The provider compares the verifier of PKCE."""
    with stage.browser() as victim, stage.browser() as attacker:
        stolen = dict(httpx.URL(stage.begin(victim).back).params)["code"]
        return stage.end(stage.begin(attacker), **({"code": stolen} if is_wrong else {}))


def _state_of_another_attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Two tabs of a browser: the code of one with the state of the other."""
    with stage.browser() as browser:
        first, second = stage.begin(browser), stage.begin(browser, "/other-page")
        return stage.end(first, **({"state": second.asked["state"]} if is_wrong else {}))


def _twice(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Somebody reads the address in the history of a browser and opens it again."""
    with stage.browser() as browser:
        begun = stage.begin(browser)
        if is_wrong:
            stage.end(begun)
            browser.cookies.delete(COOKIE)
        return stage.end(begun)


def _code_twice(stage: Stage, is_wrong: bool) -> httpx.Response:
    """The attempt's cookie is still there, but the code was used."""
    with stage.browser() as browser:
        begun = stage.begin(browser)
        before = list(browser.cookies.jar)
        if is_wrong:
            stage.end(begun)
            browser.cookies.clear()
            for cookie in before:
                browser.cookies.jar.set_cookie(cookie)
        return stage.end(begun)


def _code_of_before(stage: Stage, is_wrong: bool) -> httpx.Response:
    """The code of a login that has ended, in another one of the same browser."""
    with stage.browser() as browser:
        first = stage.begin(browser)
        assert passed(stage.end(first))
        browser.cookies.delete(COOKIE)
        second = stage.begin(browser)
        used = dict(httpx.URL(first.back).params)["code"]
        return stage.end(second, **({"code": used} if is_wrong else {}))


def _attempt_cookie(change: str) -> Attempt:
    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            begun = stage.begin(browser)
            (cookie,) = [one for one in browser.cookies.jar if "-attempt-" in one.name]
            assert cookie.value
            if is_wrong:
                match change:
                    case "gone":
                        browser.cookies.delete(cookie.name)
                    case "tampered":
                        cookie.value = cookie.value[:-6] + ("AAAAAA" if cookie.value[-6:] != "AAAAAA" else "BBBBBB")
                    case "cut":
                        cookie.value = cookie.value[: len(cookie.value) // 2]
                    case "session":
                        cookie.value = stage.sealed().partition("=")[2]
                    case "old":
                        cookie.value = _aged(stage, cookie.value)
            return stage.end(begun)

    return attempt


def _aged(stage: Stage, value: str) -> str:
    """The cookie of an attempt that began an hour ago, which is the last of its members."""
    plain = stage.sealer.open("attempt oidc", value)
    assert plain
    *members, begun = json.loads(plain)
    return stage.sealer.seal("attempt oidc", json.dumps([*members, begun - 3600]).encode())


def _path_of_another(stage: Stage, is_wrong: bool) -> httpx.Response:
    """The answer for one authenticator is handed to another one of the same gateway."""
    with stage.browser() as browser:
        begun = stage.begin(browser)
        back = begun.back.replace("/oauth2/", "/other/") if is_wrong else begun.back
        return follow(browser, back).answer


def _posted(stage: Stage, is_wrong: bool) -> httpx.Response:
    """A form of another site cannot do what a redirect does."""
    with stage.browser() as browser:
        begun = stage.begin(browser)
        if not is_wrong:
            return stage.end(begun)
        query = dict(httpx.URL(begun.back).params)
        return browser.post(begun.back.partition("?")[0], data=query, headers={"Accept": "text/html"})


def _without_pkce(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Somebody in the middle takes the challenge away, so that a stolen code is good without a verifier."""

    def redirect(_: Call, answer: Answer) -> Answer:
        return answer.to(lambda url: url.replace("iss=", "other="))

    with stage.browser() as browser:
        if is_wrong:
            stage.provider.alter("other", redirect)
        return stage.end(stage.begin(browser))


ATTACKS = (
    *attacks(
        "login",
        ("state is missing", STATE, "oidc_state_missing", _changed(state=None)),
        ("state is empty", STATE, "oidc_state_missing", _changed(state="")),
        ("state was never given", STATE, "oidc_attempt_missing", _changed(state="A" * 43)),
        ("state is larger than any", STATE, "oidc_attempt_missing", _changed(state="A" * 5000)),
        ("state comes twice", STATE, "oidc_parameter_repeated", _added("&state=x")),
        ("state of another tab", STATE, "oidc_code_refused", _state_of_another_attempt),
        ("login of an attacker in another browser", STATE, "oidc_attempt_missing", _in_another_browser),
        ("the attempt's cookie is gone", STATE, "oidc_attempt_missing", _attempt_cookie("gone")),
        ("the attempt's cookie was changed", STATE, "oidc_attempt_invalid", _attempt_cookie("tampered")),
        ("the attempt's cookie was cut", STATE, "oidc_attempt_invalid", _attempt_cookie("cut")),
        ("a session for an attempt", STATE, "oidc_attempt_invalid", _attempt_cookie("session")),
        ("the attempt is too old", "RFC 6819, section 4.4.1.8", "oidc_attempt_expired", _attempt_cookie("old")),
        ("the way back taken twice", "RFC 6749, section 10.5", "oidc_attempt_missing", _twice),
        ("the code used twice", "RFC 6749, section 10.5", "oidc_attempt_used", _code_twice),
        ("the code of a login before", "RFC 9700, section 2.1.1", "oidc_code_refused", _code_of_before),
        ("the code of a victim", INJECTION, "oidc_code_refused", _code_of_another),
        ("the code is missing", "RFC 6749, section 4.1.2", "oidc_code_missing", _changed(code=None)),
        ("the code is empty", "RFC 6749, section 4.1.2", "oidc_code_missing", _changed(code="")),
        ("the code is nonsense", "RFC 6749, section 10.10", "oidc_code_refused", _changed(code="x" * 43)),
        ("the code is longer than any", "RFC 6749, section 10.10", "oidc_code_refused", _changed(code="x" * 7000)),
        ("the code comes twice", "RFC 6749, section 3.1", "oidc_parameter_repeated", _added("&code=x")),
        ("the issuer is missing", MIX_UP, "oidc_iss_missing", _changed(iss=None)),
        ("the issuer is taken away", MIX_UP, "oidc_iss_missing", _without_pkce),
        ("another issuer", MIX_UP, "oidc_iss_mismatch", _changed(iss="https://evil.example")),
        ("an issuer that begins alike", MIX_UP, "oidc_iss_mismatch", _changed(iss="http://127.0.0.1")),
        ("the issuer comes twice", MIX_UP, "oidc_parameter_repeated", _added("&iss=https://evil.example")),
        ("an error", "RFC 6749, section 4.1.2.1", "oidc_access_denied", _changed(code=None, error="access_denied")),
        ("an error and a code", "RFC 6749, section 4.1.2.1", "oidc_provider_error", _changed(error="invalid_scope")),
        (
            "an error of another issuer",
            MIX_UP,
            "oidc_iss_mismatch",
            _changed(code=None, error="access_denied", iss="https://evil.example"),
        ),
        ("the path of another authenticator", "RFC 9700, section 4.4", "oidc_attempt_missing", _path_of_another),
    ),
    *attacks("method", ("a form in place of a redirect", "OpenID Connect Core 1.0, section 3.1.2.5", "", _posted)),
)
