"""The function of a configuration that says who the user of a login is."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from pylae import ConfigError, Gateway
from support.instance import EchoInstance
from support.oidc_provider import OidcProvider
from support.running import FromFile, configure

from .conftest import configured

PEOPLE = "from pylae.hooks import User\n\ndef user(claims):\n    return User(claims['sub'], role='ROLE')\n"


def written(folder: Path, provider: OidcProvider, echo: EchoInstance, user: str) -> Path:
    """A configuration in a file."""
    file = folder / "pylae.yaml"
    config = configure(configured(provider, {"state": "state"}, user=user), all=echo)
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module beside the configuration, which no other test has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"people_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PEOPLE.replace("ROLE", "first"), encoding="utf-8")
    return name


def test_a_function_in_a_file(
    oidc_provider: OidcProvider, browser: httpx.Client, echo: EchoInstance, tmp_path: Path, module: str
) -> None:
    running = FromFile(written(tmp_path, oidc_provider, echo, f"{module}:user"))
    try:
        oidc_provider.register(running.url)

        def role() -> str:
            browser.cookies.clear()
            fields = oidc_provider.login(browser, f"{running.url}/").answer.json()["headers"]
            return str(dict(fields)["x-user-role"])

        assert role() == "first"
        assert tmp_path / f"{module}.py" in running.gateway.runtime.builder.followed
        (tmp_path / f"{module}.py").write_text(PEOPLE.replace("ROLE", "second"), encoding="utf-8")
        running.gateway.reload()
        assert role() == "second"
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("user", "message", "hint"),
    [
        ("users", "has no `users`", "did you mean `user`?"),
        ("User.id.x", "has no `User.id.x`", None),
        ("__doc__", "is no function", "name one"),
    ],
)
def test_what_is_no_function(
    oidc_provider: OidcProvider,
    echo: EchoInstance,
    tmp_path: Path,
    module: str,
    user: str,
    message: str,
    hint: str | None,
) -> None:
    file = written(tmp_path, oidc_provider, echo, f"{module}:{user}")
    with pytest.raises(ConfigError) as refused:
        Gateway.from_file(file).check()
    (problem,) = refused.value.problems
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "user:" in text)
    assert (problem.path, problem.line) == ("auth.oidc.user", line)
    assert message in problem.message
    assert hint is None or hint in str(problem.hint)
