"""Each kind of wrong configuration ends `pylae check` and `pylae run` alike: with 1, its place, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

SERVICES = 'services: {s: {instances: ["http://127.0.0.1:9"]}}\n'

WRONG = {
    "no YAML": "listeners: [",
    "tab": "listeners:\n\t- a\n",
    "not a mapping": "- a\n",
    "key twice": "services: {}\nservices: {}\n",
    "cycle of aliases": "services: &a {s: *a}\n",
    "unknown key": "listners: []\n",
    "bad address": "listeners: [nowhere]\n",
    "bad port": 'listeners: ["127.0.0.1:99999"]\n',
    "bad duration": "limits: {keep_alive: soon}\n",
    "bad size": "limits: {max_body: 10 bananas}\n",
    "bad network": "trusted_proxies: [10.0.0.1/8]\n",
    "bad url": "services: {s: {instances: [ftp://a]}}\n",
    "no instance": "services: {s: {instances: []}}\n",
    "unset variable": "services: {s: {instances: ['${NOT_SET_ANYWHERE}']}}\n",
    "unreadable file": "services: {s: {instances: ['${file:/nowhere/at/all}']}}\n",
    "unknown balancer": 'services: {s: {instances: ["http://a"], load_balancer: fair}}\n',
    "missing service": "routes: [{path: /a, service: nothing, auth_required: false}]\n",
    "no match": SERVICES + "routes: [{service: s, auth_required: false}]\n",
    "two matches": SERVICES + "routes: [{path: /a, prefix: /b, service: s, auth_required: false}]\n",
    "bad method": SERVICES + "routes: [{path: /a, method: 'G ET', service: s, auth_required: false}]\n",
    "name twice": SERVICES
    + "routes: [{name: a, path: /a, service: s, auth_required: false}, {name: a, path: /b, service: s}]\n",
    "look-around": SERVICES + "routes: [{pattern: '^/(?=a)', service: s, auth_required: false}]\n",
    "bad template": SERVICES + "routes: [{path: '/{a', service: s, auth_required: false}]\n",
    "bad limit": SERVICES + "routes: [{path: /a, service: s, rate_limit: often, auth_required: false}]\n",
    "no authenticator": SERVICES + "routes: [{path: /a, service: s, auth_required: true}]\n",
    "misspelt policy": "policies: {corss: {}}\n",
    "misspelt setting": "policies: {cors: {orgins: ['*']}}\n",
    "credentials for everyone": "policies: {cors: {origins: ['*'], credentials: true}}\n",
    **{
        f"path with {character}": SERVICES + f"routes: [{{path: '/a{character}b', service: s, auth_required: false}}]\n"
        for character in '"<>^|`'
    },
    "path that is not UTF-8": SERVICES + "routes: [{path: /a%FF, service: s, auth_required: false}]\n",
    "path with a dot parameter": SERVICES + "routes: [{prefix: '/a/..;x', service: s, auth_required: false}]\n",
    "file of a certificate": "listeners: [{address: '127.0.0.1:0', tls: {cert: /nowhere.pem, key: /nowhere.key}}]\n",
}


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("name", WRONG)
def test_it_ends_with_its_place_and_1(pylae, tmp_path: Path, name: str, verb: str) -> None:
    file = tmp_path / "pylae.yaml"
    text = WRONG[name]
    file.write_text(text)
    result: Result = pylae(verb, file)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"{file}:"), result.stderr
    assert "Traceback" not in result.output


def test_a_character_that_is_written_as_an_escape_says_how(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    for character, escaped in {'"': "%22", "<": "%3C", ">": "%3E", "^": "%5E", "|": "%7C", "`": "%60"}.items():
        for key in ("path", "prefix"):
            file.write_text(SERVICES + f"routes: [{{{key}: '/a{character}b', service: s, auth_required: false}}]\n")
            result: Result = pylae("check", file)
            assert f":2:{len(f'routes: [{{{key}: ') + 1}: routes[0].{key}: " in result.stderr
            assert f"as `{escaped}`" in result.stderr
        file.write_text(SERVICES + f"routes: [{{path: '/a{escaped}b', service: s, auth_required: false}}]\n")
        assert pylae("check", file).exit_code == 0
