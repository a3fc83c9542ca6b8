"""Settings of logins: what is refused, and what follows from them."""

import pytest

from pylae import ConfigError
from pylae.config.checks.audience import Audiences
from pylae.config.checks.standing import named as named_by
from pylae.config.models.authenticators.oidc import Oidc
from pylae.settings import AuthConfig, Config

LEAST = {"issuer": "https://login.example.org", "client_id": "shop"}


def test_the_name_of_the_cookie_follows_from_the_scheme():
    assert Oidc(**LEAST).cookie_name("https") == "__Host-pylae-oidc"
    assert Oidc(**LEAST).cookie_name("http") == "pylae-oidc"
    behind = Oidc(**LEAST, name="staff", public_url="https://shop.example.org/")
    assert behind.public_url == "https://shop.example.org"
    assert behind.cookie_name("http") == behind.cookie_name("https") == "__Host-pylae-staff"
    assert Oidc(**LEAST, cookie="sid").cookie_name("https") == "sid"


def test_scopes_are_words():
    for written in ("openid offline_access", "openid|offline_access", ["openid", "offline_access"]):
        assert Oidc(**LEAST, scopes=written).scopes == ("openid", "offline_access")


def test_its_own_paths():
    assert Oidc(**LEAST, path="/a/b").options.paths == tuple(
        f"/a/b/{name}" for name in ("login", "callback", "logout", "backchannel-logout", "session")
    )


def test_several_have_names_of_their_own():
    auth = AuthConfig(oidc=[{**LEAST, "name": "a"}, {**LEAST, "name": "b"}])
    assert auth.names == ("a", "b")
    assert auth.conceals
    with pytest.raises(ConfigError, match="two authenticators are called oidc"):
        AuthConfig(oidc=[LEAST, LEAST])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"issuer": "http://login.example.org"}, "only for this machine"),
        ({"issuer": "https://ada@login.example.org"}, "without user name"),
        ({"issuer": "https://login.example.org?x=1"}, "no query"),
        ({"issuer": "login.example.org"}, "must be an https://"),
        ({"public_url": "https://shop.example.org/shop"}, "an origin, without a path"),
        ({"public_url": "https://shop.example.org:99999"}, "at most 65535"),
        ({"cookie_secret": "s" * 31}, "at least 32 bytes"),
        ({"cookie_secret": []}, "at least 1"),
        ({"cookie": "a;b"}, "not the name of a cookie"),
        ({"cookie": "__Host-sid", "public_url": "http://127.0.0.1:8080"}, "refuse cookies with this prefix"),
        ({"same_site": "none", "public_url": "http://127.0.0.1:8080"}, "refuse `same_site: none`"),
        ({"path": "/oauth2/"}, "must be a path"),
        ({"path": "/a/../b"}, "must be a path"),
        ({"scopes": 'openid "x"'}, "visible ASCII"),
        ({"scopes": ["email"]}, "needs `openid`"),
        ({"client_auth": "post"}, "needs `client_secret`"),
        ({"extra": {"state": "x"}}, "which the gateway sets itself"),
        ({"logout_url": "//evil.example"}, "must be an https://"),
        ({"logout_url": "/\\evil.example"}, "must be an https://"),
        ({"idle": "13h"}, "longer than `lifetime`"),
        ({"lifetime": "401d"}, "longer than 400 days"),
        ({"user": 7}, "must be a function"),
    ],
)
def test_wrong_settings_are_told(more, message):
    with pytest.raises(ConfigError, match=message):
        Oidc(**{**LEAST, **more})


def test_secrets_are_not_shown():
    with pytest.raises(ConfigError) as refused:
        Oidc(**LEAST, cookie_secret="hunter2")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(Oidc(**LEAST, client_secret="hunter2"))


def test_who_sees_its_settings():
    def ends(path, **more):
        return Audiences(Config(auth={"oidc": {**LEAST, **more}})).of(path)

    secret = ("auth", "oidc", 0, "client_secret")
    assert ends(secret) == ends(("auth", "oidc", "client_secret")) == {("asked", LEAST["issuer"], "")}
    assert ends(secret) != ends(secret, issuer="https://evil.example")
    assert ends(("auth", "oidc", 0, "cookie_secret")) == ends(("auth", "oidc", "cookie_secret")) == frozenset()
    named = named_by(Config(auth={"oidc": {**LEAST, "user": "shop:user", "ca": "ca.pem"}}))
    assert {(one.kind, one.text) for one in named} == {("code", "shop:user"), ("file", "ca.pem")}
