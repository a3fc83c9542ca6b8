"""What instances are told of the address that clients use."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.h2client import FramePeer
from support.h2servers import H2Instance
from support.instance import OK, RawInstance
from support.peer import Message, wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]


def get(running: Running, target: str, *fields: str, host: str | None = "shop.test:8080") -> Message:
    """One GET for this host, or by HTTP/1.0 for none."""
    lines = "".join(f"{field}\r\n" for field in ([f"Host: {host}"] if host else []) + list(fields))
    return running.raw(f"GET {target} HTTP/1.{int(host is not None)}\r\n{lines}\r\n".encode("latin-1"), 1)[0]


class TestHost:
    """The Host that instances are sent."""

    @pytest.mark.parametrize("on_service", [None, False, True])
    @pytest.mark.parametrize("on_route", [None, False, True])
    @pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
    @pytest.mark.parametrize("protocol", ["http1", "http2"])
    def test_by_scheme_service_and_route(
        self,
        on_service: bool | None,
        on_route: bool | None,
        tls: bool,
        protocol: str,
        gateway: Start,
        tmp_path: Path,
    ) -> None:
        authority = Authority(tmp_path)
        context = authority.server("127.0.0.1") if tls else None
        service: dict[str, Any] = {"protocol": protocol, **({"tls": {"ca": str(authority.file)}} if tls else {})}
        route: dict[str, Any] = {"prefix": "/", "service": "all"}
        for settings, said in ((service, on_service), (route, on_route)):
            settings.update({} if said is None else {"preserve_host": said})
        expected = next((said for said in (on_route, on_service) if said is not None), not tls)
        config = {"services": {"all": service}, "routes": [route]}
        if protocol == "http1":
            with RawInstance(OK, context=context) as instance:
                assert get(gateway(config, all=instance), "/").status == 200
                sent, own = instance.requests[0].one("host"), instance.address
        else:
            if context:
                context.set_alpn_protocols(["h2"])
            with H2Instance(lambda connection, stream, _: connection.answer(stream), context=context) as h2_instance:
                assert get(gateway(config, all=h2_instance), "/").status == 200
                sent, own = h2_instance.requests[0][":authority"], h2_instance.url.partition("//")[2]
        assert sent == ("shop.test:8080" if expected else own)

    def test_of_a_client_that_names_none(self, gateway: Start, instance: RawInstance) -> None:
        for preserve in (None, True):
            said = {} if preserve is None else {"preserve_host": preserve}
            running = gateway({"routes": [{"prefix": "/", "service": "all", **said}]}, all=instance)
            assert get(running, "/", host=None).status == 200
            assert instance.requests[-1].one("host") == instance.address

    def test_of_the_target_in_absolute_form_and_of_http2(self, gateway: Start, instance: RawInstance) -> None:
        running = gateway({"listeners": [{"address": "127.0.0.1:0", "http2": True}]}, all=instance)
        assert get(running, "http://Other.test:81/x", host="shop.test").status == 200
        assert instance.requests[-1].one("host") == "other.test:81"
        with FramePeer(running.address) as client:
            assert client.get("/").status == 200
        assert instance.requests[-1].one("host") == "gateway.test"

    def test_of_copies(self, gateway: Start, instance: RawInstance) -> None:
        with RawInstance(OK) as shadow:
            routes = [{"prefix": "/", "service": "all", "mirror": {"service": "shadow"}}]
            services: dict[str, Any] = {"shadow": {}}
            running = gateway({"services": services, "routes": routes}, all=instance, shadow=shadow)
            get(running, "/")
            wait_until(lambda: len(shadow.requests) == 1)
            services["shadow"]["preserve_host"] = False
            running.apply({"services": services, "routes": routes}, all=instance, shadow=shadow)
            get(running, "/")
            wait_until(lambda: len(shadow.requests) == 2)
            assert [request.one("host") for request in shadow.requests] == ["shop.test:8080", shadow.address]
        assert [request.one("host") for request in instance.requests] == ["shop.test:8080"] * 2

    def test_of_health_checks_is_the_instances(self, gateway: Start, instance: RawInstance) -> None:
        service = {"health_check": {"path": "/well", "interval": "20ms"}, "preserve_host": True}
        gateway({"services": {"all": service}}, all=instance)
        wait_until(lambda: len(instance.requests) > 0)
        assert instance.requests[0].one("host") == instance.address

    def test_of_a_websocket(self, gateway: Start, instance: RawInstance) -> None:
        running = gateway({"routes": [{"prefix": "/", "service": "all", "websocket": True}]}, all=instance)
        key = base64.b64encode(bytes(16)).decode()
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        )
        get(running, "/", *upgrade)
        assert instance.requests[0].one("upgrade") == "websocket"
        assert instance.requests[0].one("host") == "shop.test:8080"
