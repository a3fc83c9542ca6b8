from __future__ import annotations

import pytest

from pylae import ConfigError, Gateway
from pylae.config.models.admin import is_at
from pylae.config.models.instance import instance_url

LOCAL = [
    "127.0.0.1",
    "127.255.0.9",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "any.localhost",
    "ip6-localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7f00:1]",
    "[::ffff:0.0.0.0]",
]
ELSEWHERE = ["192.0.2.1", "128.0.0.1", "[2001:db8::1]", "[::ffff:192.0.2.1]", "example.org", "localhost.example.org"]


def written(host: str) -> str | None:
    """The URL as a configuration has it, if it can have it."""
    try:
        return instance_url(f"http://{host}:9901")
    except ValueError:
        return None


@pytest.mark.parametrize("address", ["127.0.0.1:9901", "[::1]:9901", "127.0.0.2:9901"])
@pytest.mark.parametrize("host", LOCAL)
def test_an_instance_on_this_machine_is_at_the_admin_api_however_it_is_written(host: str, address: str) -> None:
    for url in (f"http://{host}:9901", written(host)):
        assert url is None or is_at(url, address)
        assert url is None or not is_at(url.replace("9901", "9902"), address)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_an_instance_elsewhere_is_not(host: str) -> None:
    assert not is_at(f"http://{host}:9901", "127.0.0.1:9901")
    assert not is_at(f"http://{host}:9901", "unix:/run/pylae.sock")


def test_an_address_of_its_own_is_known() -> None:
    assert is_at("http://192.0.2.1:9901", "192.0.2.1:9901")
    assert is_at("http://[2001:db8::1]:9901", "[2001:db8::1]:9901")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_leave(host: str) -> None:
    assert Gateway(admin=f"{host}:9901").config.admin


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "", "[::ffff:127.0.0.1]", "[::ffff:192.0.2.1]", "128.0.0.1"])
def test_any_other_does(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        Gateway(admin=f"{host}:9901")
    assert Gateway(admin={"address": f"{host}:9901", "tls": "auto"}).config.admin
