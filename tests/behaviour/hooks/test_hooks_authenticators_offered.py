"""Authenticators that installed distributions offer by entry points."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.doctor import versions
from pylae.testing import FakeService
from support.exchanges import ask
from support.hooked import running

MODULE = """
import asyncio
from pydantic import BaseModel

from pylae.hooks import Authenticator, HTTPError, Response, User
from pylae.settings import AuthenticatorOptions


class Settings(BaseModel):
    badges: dict[str, str]
    floor: int = 1


class Badges(Authenticator):
    Settings = Settings
    options = AuthenticatorOptions(key="header:X-Badge", challenge="Badge")
    made = []

    def __init__(self, settings):
        super().__init__(settings)
        self.made.append(settings.floor)
        if settings.floor < 0:
            raise ValueError("there is no such floor")

    def authenticate(self, request):
        badge = request.headers["x-badge"]
        if badge == "lost":
            raise HTTPError(401, "the badge was lost")
        name = self.settings.badges.get(badge)
        return User(name, role=f"floor-{self.settings.floor}") if name else None


class Slow(Badges):
    async def authenticate(self, request):
        await asyncio.sleep(0)
        return super().authenticate(request)


class Silent(Authenticator):
    pass
"""
ENTRY_POINTS = """[pylae.authenticators]
badges = offered_badges:Badges
slow-badges = offered_badges:Slow
silent = offered_badges:Silent
broken = offered_broken:Broken
absent = offered_badges:Badge
plain = offered_badges:Settings

[pylae.plugins]
stamping = offered_badges:Stamping
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution acme-badges, in a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    info = site / "acme_badges-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-badges\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "offered_badges.py").write_text(MODULE)
    (site / "offered_broken.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.syspath_prepend(str(site))
    for name in [name for name in sys.modules if name.startswith("offered_")]:
        monkeypatch.delitem(sys.modules, name)


def written(folder: Path, url: str, auth: str) -> Path:
    file = folder / "pylae.yaml"
    file.write_text(
        "listeners: ['127.0.0.1:0']\nworkers: 1\n"
        "routes:\n"
        f"  - {{prefix: /, service: shop, service_url: '{url}'}}\n"
        f"auth:\n  plugins:\n{auth}"
    )
    return file


def problem(file: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        Gateway.from_file(file).check()
    (found,) = refused.value.problems
    return str(found).replace(f"{file.parent}/", "")


@pytest.mark.parametrize("use", ["badges", "slow-badges", "offered_badges:Badges"])
def test_it_is_one_like_the_others(service: FakeService, tmp_path: Path, use: str) -> None:
    auth = f"    staff:\n      use: {use}\n      settings: {{badges: {{b7: ada}}, floor: 3}}\n"
    with running(Gateway.from_file(written(tmp_path, service.url, auth))) as address:
        assert ask(address, "/", headers={"X-Badge": "b7"}).status == 200
        seen = service.requests[-1].headers
        assert (seen["x-user-id"], seen["x-user-role"], seen["x-badge"]) == ("ada", "floor-3", "b7")
        refused = ask(address, "/", headers={"X-Badge": "b8"})
        # How it is asked, it says itself.
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Badge realm="pylae"')
        assert "the badge was lost" in ask(address, "/", headers={"X-Badge": "lost"}).text
        assert ask(address, "/").status == 401


def test_what_the_configuration_says_goes_before(service: FakeService, tmp_path: Path) -> None:
    auth = (
        "    staff:\n      use: badges\n      settings: {badges: {b7: ada}}\n"
        "      challenge: Staff\n      cache: 1m\n      forward_credentials: false\n"
    )
    with running(Gateway.from_file(written(tmp_path, service.url, auth))) as address:
        assert ask(address, "/").headers["www-authenticate"] == 'Staff realm="pylae"'
        for _ in range(2):
            assert ask(address, "/", headers={"X-Badge": "b7"}).status == 200
            assert "x-badge" not in service.requests[-1].headers


def test_a_reload_makes_another_with_the_new_settings(service: FakeService, tmp_path: Path) -> None:
    auth = "    staff: {use: badges, settings: {badges: {b7: ada}}}\n"
    gateway = Gateway.from_file(written(tmp_path, service.url, auth))
    with running(gateway) as address:
        assert ask(address, "/", headers={"X-Badge": "b7"}).status == 200
        made = sys.modules["offered_badges"].Badges.made
        assert made == [1], "one object for each use"
        written(tmp_path, service.url, auth.replace("b7: ada", "b8: bob").replace("}}}", "}, floor: 2}}"))
        gateway.reload()
        assert made == [1, 2]
        assert ask(address, "/", headers={"X-Badge": "b7"}).status == 401
        assert ask(address, "/", headers={"X-Badge": "b8"}).status == 200
        assert service.requests[-1].headers["x-user-role"] == "floor-2"
        written(tmp_path, service.url, auth.replace("badges: {b7", "badge: {b7"))
        with pytest.raises(ConfigError):
            gateway.reload()
        assert ask(address, "/", headers={"X-Badge": "b8"}).status == 200


MISTAKES = {
    "{use: badge, settings: {badges: {}}}": (
        "7:18: auth.plugins.staff.use: there is no authenticator `badge`; installed are absent, badges, broken, "
        "plain, silent, slow-badges (did you mean `badges`?)"
    ),
    "stamping": (
        "7:12: auth.plugins.staff: there is no authenticator `stamping`; installed are absent, badges, broken, "
        "plain, silent, slow-badges (it is a plugin, which is used under `plugins`)"
    ),
    "{use: badges, settings: {badges: {}, flor: 2}}": (
        "7:49: auth.plugins.staff.settings.flor: unknown key `flor` (did you mean `floor`?)"
    ),
    "badges": "7:12: auth.plugins.staff.settings.badges: `badges` is required and missing",
    "{use: badges, settings: {badges: {}, floor: top}}": (
        '7:56: auth.plugins.staff.settings.floor: must be a whole number; found "top"'
    ),
    "{use: badges, settings: {badges: {}, floor: -1}}": (
        "7:18: auth.plugins.staff.use: `badges` cannot be made with these settings: ValueError: there is no such floor"
    ),
    "{use: badges, settings: {badges: {}}, key: 'cookie:sid', forward_credentials: false}": (
        "7:12: auth.plugins.staff: `forward_credentials: false`: cookie:sid cannot be taken out of a request (it "
        "is for `header:NAME` and `query:NAME`)"
    ),
    "broken": (
        "7:12: auth.plugins.staff: `broken` of acme-badges 2.1 cannot be imported: ModuleNotFoundError: No module "
        "named 'a_library_that_nobody_has' (raised at SITE/offered_broken.py:1)"
    ),
    "absent": (
        "7:12: auth.plugins.staff: `absent` of acme-badges 2.1 cannot be imported: `offered_badges` has no "
        "`Badge` (did you mean `Badges`?)"
    ),
    "plain": "7:12: auth.plugins.staff: `plain` is not a class derived from pylae.hooks.Authenticator",
    "silent": "7:12: auth.plugins.staff: `silent` has no method `authenticate(request)`",
}


@pytest.mark.parametrize("auth", MISTAKES)
def test_mistakes(tmp_path: Path, auth: str) -> None:
    found = problem(written(tmp_path, "http://127.0.0.1:1", f"    staff: {auth}\n"))
    assert re.sub(r"/\S*/site\d+/", "SITE/", found) == f"pylae.yaml:{MISTAKES[auth]}"


def test_it_is_no_function(tmp_path: Path) -> None:
    file = written(tmp_path, "http://127.0.0.1:1", "    {}\n  functions: {staff: 'offered_badges:Badges'}\n")
    said = "offered_badges.Badges is an authenticator; use it under `auth.plugins`, not as a function"
    assert said in problem(file)


def test_several_distributions_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    info = other / "better_badges-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: better-badges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pylae.authenticators]\nbadges = better:Badges\n")
    monkeypatch.syspath_prepend(str(other))
    found = problem(written(tmp_path, "http://127.0.0.1:1", "    staff: badges\n"))
    assert "several distributions have the authenticator `badges`: acme-badges 2.1 and better-badges 1.0" in found


def test_nothing_is_imported_that_nobody_names(tmp_path: Path) -> None:
    file = written(tmp_path, "http://127.0.0.1:1", "    staff: {use: badges, settings: {badges: {}}}\n")
    Gateway.from_file(file).check()
    assert "offered_badges" in sys.modules
    assert "offered_broken" not in sys.modules


def test_it_has_a_name_of_its_own(tmp_path: Path) -> None:
    file = written(tmp_path, "http://127.0.0.1:1", "    api_key: badges\n  api_key: {consumers: {cron: '0'}}\n")
    file.write_text(file.read_text().replace("'0'", f"'{'0' * 64}'"))
    assert "two authenticators are called api_key" in problem(file)


def test_doctor_names_what_is_installed() -> None:
    offered = "absent, badges, broken, plain, silent, slow-badges"
    said = f"2.1 (pylae.authenticators: {offered}; pylae.plugins: stamping)"
    assert versions.facts()["acme-badges"] == said
