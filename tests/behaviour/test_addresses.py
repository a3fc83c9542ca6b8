"""What instances are told of the address that clients use, and what clients are told of the addresses in answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway
from support.exchanges import ask
from support.h2client import FramePeer
from support.h2servers import H2Connection, H2Instance
from support.hooked import hooked
from support.hooked import running as running_hooked
from support.instance import OK, EchoInstance, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.servers import nginx_instance
from support.tls import Authority, secure

Start = Callable[..., Running]

TRUSTING = {"trusted_proxies": ["127.0.0.1"]}


def stripping(**more: Any) -> dict[str, Any]:
    """A gateway that strips `/api`."""
    return {"routes": [{"prefix": "/api", "strip_prefix": True, "service": "all", **more}]}


def saying(*fields: str, status: str = "307 Temporary Redirect", body: str = "") -> bytes:
    """An answer with these fields."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


def repeating(peer: Peer, request: Message) -> None:
    """Answers with the fields that the request asks for, one in each `Say`; `INSTANCE` in them is its address."""
    host, port = peer.socket.getsockname()[:2]
    peer.send(saying(*(said.replace("INSTANCE", f"{host}:{port}") for said in request.all("say"))))


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


class TestPrefix:
    """What instances are told of a prefix that was stripped."""

    def sent(self, running: Running, instance: RawInstance, target: str, *fields: str) -> tuple[str, list[str]]:
        assert get(running, target, *fields).status == 200
        return instance.requests[-1].target, instance.requests[-1].all("x-forwarded-prefix")

    def test_what_was_stripped_goes_along(self, gateway: Start, instance: RawInstance) -> None:
        routes = [
            {"prefix": "/api", "strip_prefix": True, "service": "all"},
            {"prefix": "/slash", "strip_prefix": "/slash/", "service": "all"},
            {"pattern": "^/(?:v1|v2)/", "strip_prefix": "/v1", "service": "all", "priority": 1},
            {"path": "/re/{id}", "rewrite": "/{id}", "service": "all"},
            {"prefix": "/", "strip_prefix": True, "service": "all"},
        ]
        running = gateway({"routes": routes}, all=instance)
        for target, expected in {
            "/api/items": ("/items", ["/api"]),
            "/api": ("/", ["/api"]),
            "/%61pi/./x?y": ("/x?y", ["/api"]),
            "/slash/x": ("/x", ["/slash"]),
            "/v1/x": ("/x", ["/v1"]),
            "/v2/x": ("/v2/x", []),
            "/re/7": ("/7", []),
            "/apix": ("/apix", []),
        }.items():
            assert self.sent(running, instance, target) == expected

    @pytest.mark.parametrize(
        "name", ["X-Forwarded-Prefix", "x-forwarded-prefix", "X_Forwarded_Prefix", "x-forwarded_prefix"]
    )
    def test_clients_cannot_say_it(self, name: str, gateway: Start, instance: RawInstance) -> None:
        routes = [*stripping()["routes"], {"prefix": "/", "service": "all"}]
        running = gateway({"routes": routes}, all=instance)
        for target in ("/api/x", "/x"):
            _, told = self.sent(running, instance, target, f"{name}: /forged", f"{name}: /forged")
            assert told == (["/api"] if target == "/api/x" else [])
        assert b"forged" not in instance.received

    def test_a_trusted_proxys_prefix_comes_first(self, gateway: Start, instance: RawInstance) -> None:
        routes = [*stripping()["routes"], {"prefix": "/", "service": "all"}]
        running = gateway({**TRUSTING, "routes": routes}, all=instance)
        for fields, told in (
            (["X-Forwarded-Prefix: /outer"], "/outer/api"),
            (["X-Forwarded-Prefix: /outer/"], "/outer/api"),
            (["X-Forwarded-Prefix: /a, /b"], "/a/b/api"),
            (["X-Forwarded-Prefix: /a", "X-Forwarded-Prefix: /b"], "/a/b/api"),
            (["X-Forwarded-Prefix: /"], "/api"),
            (["X-Forwarded-Prefix: nonsense"], "/api"),
            (["X_Forwarded_Prefix: /forged"], "/api"),
        ):
            assert self.sent(running, instance, "/api/x", *fields) == ("/x", [told])
        assert self.sent(running, instance, "/x", "X-Forwarded-Prefix: /outer") == ("/x", ["/outer"])

    def test_policies_have_the_last_word(self, gateway: Start, instance: RawInstance) -> None:
        for change, told in (
            ({"set": {"X-Forwarded-Prefix": "/shop"}}, ["/shop"]),
            ({"remove": ["X-Forwarded-Prefix"]}, []),
        ):
            running = gateway(stripping(transform={"request": change}), all=instance)
            assert self.sent(running, instance, "/api/x") == ("/x", told)

    def test_a_path_that_a_hook_sets_has_none(self, instance: RawInstance) -> None:
        gateway = Gateway(
            listeners=["127.0.0.1:0"],
            workers=1,
            services={"all": {"instances": [instance.url]}},
            routes=[{**stripping()["routes"][0], "auth_required": False}],
        )

        @gateway.on_request
        def elsewhere(request: Any) -> None:
            request.path = "/v2/x"

        with running_hooked(gateway) as address:
            assert ask(address, "/api/x").status == 200
        assert (instance.requests[0].target, instance.requests[0].all("x-forwarded-prefix")) == ("/v2/x", [])


class TestAnswers:
    """Addresses in answers. Every kind of address is in the tests of `core/location`."""

    @pytest.mark.parametrize("name", ["Location", "Content-Location"])
    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("http://INSTANCE/items/?a=b", "http://shop.test:8080/api/items/?a=b"),
            ("http://shop.test:8080/items/", "http://shop.test:8080/api/items/"),
            ("HTTP://user@INSTANCE", "http://shop.test:8080/api/"),
            ("//INSTANCE/items/", "//shop.test:8080/api/items/"),
            ("/items/", "/api/items/"),
            ("/api/items/", "/api/items/"),
            ("/apix", "/api/apix"),
            ("items/", "items/"),
            ("?x", "?x"),
            ("http://elsewhere.test/x", "http://elsewhere.test/x"),
            ("http://INSTANCE@elsewhere.test/x", "http://elsewhere.test/x"),
        ],
    )
    def test_are_put_as_the_client_knows_them(self, name: str, said: str, told: str, gateway: Start) -> None:
        with RawInstance(repeating) as instance:
            running = gateway(stripping(), all=instance)
            answer = get(running, "/api/items", f"Say: {name}: {said}")
            if "@elsewhere" in said:
                told = said.replace("INSTANCE", instance.address)
            assert answer.all(name) == [told]

    def test_in_refresh_and_in_several_lines(self, gateway: Start) -> None:
        with RawInstance(repeating) as instance:
            running = gateway(stripping(), all=instance)
            answer = get(
                running,
                "/api/items",
                "Say: Refresh: 5; URL='http://INSTANCE/x'",
                "Say: Location: /a",
                "Say: X-Next: /a",
                "Say: location: http://elsewhere.test/",
                "Say: Location: http://INSTANCE/b",
            )
        assert answer.one("refresh") == "5; URL='http://shop.test:8080/api/x'"
        assert answer.all("location") == ["/api/a", "http://elsewhere.test/", "http://shop.test:8080/api/b"]
        assert answer.one("x-next") == "/a"

    def test_only_the_origin_where_nothing_was_stripped(self, gateway: Start) -> None:
        routes = [
            {"path": "/re/{id}", "rewrite": "/{id}", "service": "all"},
            {"prefix": "/", "service": "all"},
        ]
        with RawInstance(repeating) as instance:
            running = gateway({"routes": routes}, all=instance)
            for target in ("/re/7", "/x"):
                answer = get(running, target, "Say: Location: http://INSTANCE/7/")
                assert answer.one("location") == "http://shop.test:8080/7/"
                assert get(running, target, "Say: Location: /7/").one("location") == "/7/"

    def test_any_instance_of_the_service_counts(self, gateway: Start) -> None:
        with RawInstance(OK) as other, RawInstance(repeating) as instance, RawInstance(OK) as stranger:
            config = {**stripping(), "services": {"all": {}, "strangers": {}}}
            running = gateway(config, all=[instance, other], strangers=stranger)
            fields = (f"Say: Location: http://{other.address}/x", f"Say: Content-Location: http://{stranger.address}/x")
            answers = [get(running, "/api/items", *fields) for _ in range(2)]
            answer = next(answer for answer in answers if answer.status == 307)
            assert answer.one("location") == "http://shop.test:8080/api/x"
            assert answer.one("content-location") == f"http://{stranger.address}/x"

    def test_of_instances_that_are_sent_their_own_host(self, gateway: Start) -> None:
        with RawInstance(repeating) as instance:
            running = gateway(stripping(preserve_host=False), all=instance)
            answer = get(running, "/api/items", "Say: Location: http://INSTANCE/x")
            assert answer.one("location") == "http://shop.test:8080/api/x"
            # The client's address is not one that this instance can know.
            answer = get(running, "/api/items", "Say: Location: http://shop.test:8080/x")
            assert answer.one("location") == "http://shop.test:8080/x"

    def test_over_tls_and_to_it(self, gateway: Start, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        listeners = ["127.0.0.1:0", {"address": "127.0.0.2:0", "tls": authority.issue("gateway", "gateway.test")}]
        with RawInstance(repeating) as instance:
            running = gateway({**stripping(), "listeners": listeners}, all=instance)
            for said in ("http://INSTANCE/x", "http://gateway.test/x", "https://gateway.test/x"):
                with secure(running.addresses[1], authority.context()) as client:
                    client.send(f"GET /api/x HTTP/1.1\r\nHost: gateway.test\r\nSay: Location: {said}\r\n\r\n".encode())
                    assert client.read_answer().one("location") == "https://gateway.test/api/x"
            # A service may lead clients to TLS.
            answer = get(running, "/api/x", "Say: Location: https://gateway.test/x", host="gateway.test")
            assert answer.one("location") == "https://gateway.test/api/x"

    def test_by_what_a_trusted_proxy_says(self, gateway: Start) -> None:
        fields = ("Say: Location: http://INSTANCE/x", "X-Forwarded-Proto: https", "X-Forwarded-Host: outside.test")
        with RawInstance(repeating) as instance:
            answer = get(gateway({**TRUSTING, **stripping()}, all=instance), "/api/x", *fields)
            assert answer.one("location") == "https://outside.test/api/x"
            answer = get(gateway(stripping(), all=instance), "/api/x", *fields)
            assert answer.one("location") == "http://shop.test:8080/api/x"
            answer = get(
                gateway({**TRUSTING, **stripping()}, all=instance), "/api/x", *fields[:1], "X-Forwarded-Host: a b"
            )
            assert answer.one("location") == "http://shop.test:8080/api/x"

    def test_to_a_client_that_names_no_host(self, gateway: Start) -> None:
        with RawInstance(repeating) as instance:
            running = gateway(all=instance)
            for said, told in (("http://INSTANCE/x", "/x"), ("http://INSTANCE//evil.test", "/.//evil.test")):
                assert get(running, "/x", f"Say: Location: {said}", host=None).one("location") == told

    def test_over_http2(self, gateway: Start) -> None:
        def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
            location = f"http://{fields[':authority']}/items/"
            connection.h2.send_headers(stream, [(":status", "307"), ("location", location)], end_stream=True)

        listeners = [{"address": "127.0.0.1:0", "http2": True}]
        with H2Instance(answer) as instance:
            services: dict[str, Any] = {"all": {"protocol": "http2", "preserve_host": False}}
            running = gateway({**stripping(), "listeners": listeners, "services": services}, all=instance)
            with FramePeer(running.address) as client:
                assert client.get("/api/items").get("location") == "http://gateway.test/api/items/"
            assert get(running, "/api/items").one("location") == "http://shop.test:8080/api/items/"

    def test_of_nginx(self, gateway: Start, tmp_path: Path) -> None:
        """It puts the port on which it listens behind the name that it was sent."""
        with nginx_instance(tmp_path, {"docs/index.html": b"here"}) as url:
            running = gateway(stripping(), all=url)
            answer = get(running, "/api/docs")
            assert answer.status == 301
            assert answer.one("location") == "http://shop.test:8080/api/docs/"
            assert get(running, "/api/docs/").body == b"here"

    def test_of_a_service_that_a_hook_has_chosen(self) -> None:
        with RawInstance(OK) as instance, RawInstance(repeating) as other:
            gateway = hooked(instance.url, services={"other": {"instances": [other.url], "preserve_host": False}})

            @gateway.on_request
            def choose(request: Any) -> None:
                request.service = "other"

            with running_hooked(gateway) as address:
                reply = ask(address, "/x", headers={"Say": "Location: http://INSTANCE/x"})
                assert reply.headers["Location"] == f"http://{address}/x"

    def test_of_the_gateway_itself_stay(self, gateway: Start, instance: RawInstance) -> None:
        routes = [{"prefix": "/api", "strip_prefix": True, "service": "all", "redirect": "/items/"}]
        answer = get(gateway({"routes": routes}, all=instance), "/api/x")
        assert (answer.status, answer.one("location")) == (308, "/items/")


class TestHooks:
    """Hooks and policies see what the client will be told, and what they say stays."""

    @pytest.fixture
    def gateway(self) -> Any:
        with RawInstance(repeating) as instance:
            yield Gateway(
                listeners=["127.0.0.1:0"],
                workers=1,
                services={"all": {"instances": [instance.url]}},
                routes=[{**stripping()["routes"][0], "auth_required": False}],
            )

    def locations(self, gateway: Gateway) -> list[str]:
        with running_hooked(gateway) as address:
            headers = {"Host": "shop.test", "Say": "Location: http://INSTANCE/x"}
            return ask(address, "/api/x", headers=headers).headers.get_all("Location")

    def test_they_see_it(self, gateway: Gateway) -> None:
        seen = []

        @gateway.on_response
        def look(_: Any, response: Any) -> None:
            seen.append(response.headers["Location"])
            response.headers["Location"] += "?seen"

        assert self.locations(gateway) == ["http://shop.test/api/x?seen"]
        assert seen == ["http://shop.test/api/x"]

    def test_what_they_set_stays(self, gateway: Gateway) -> None:
        @gateway.on_response
        def change(_: Any, response: Any) -> None:
            response.headers["Location"] = "/items/"

        assert self.locations(gateway) == ["/items/"]

    def test_an_answer_of_theirs_has_nothing_of_the_instances(self, gateway: Gateway) -> None:
        from pylae import Response

        @gateway.on_response
        def replace(_: Any, __: Any) -> Any:
            return Response("own", headers={"X-Own": "1"})

        assert self.locations(gateway) == []

    def test_an_answer_of_theirs_to_a_request_stays(self, gateway: Gateway) -> None:
        from pylae import Response

        @gateway.on_request
        def answer(_: Any) -> Any:
            return Response(status_code=302, headers={"Location": "/items/"})

        assert self.locations(gateway) == ["/items/"]

    def test_a_hook_that_fails_leaves_nothing_of_the_instances(self, gateway: Gateway) -> None:
        @gateway.on_response
        def fail(_: Any, __: Any) -> None:
            raise ZeroDivisionError

        assert self.locations(gateway) == []


class TestCache:
    """The cache keeps what the instance said; each client is told its own."""

    def cached(self, **more: Any) -> dict[str, Any]:
        return {**stripping(name="cached", cache=True), **more}

    def test_each_host_is_told_its_own(self, gateway: Start) -> None:
        said = ("Cache-Control: max-age=60", "Location: /items/", "Content-Location: http://{}/x", "Refresh: 1; url=/r")
        with RawInstance(lambda peer, _: peer.send(answer)) as instance:
            answer = saying(*(field.format(instance.address) for field in said))
            running = gateway(self.cached(), all=instance)
            for outcome in ("fwd=uri-miss", "hit"):
                for host in ("one.test", "two.test:8080"):
                    got = get(running, "/api/items", host=host)
                    assert outcome in (got.one("cache-status") or "")
                    assert got.all("location") == ["/api/items/"]
                    assert got.all("content-location") == [f"http://{host}/api/x"]
                    assert got.all("refresh") == ["1; url=/api/r"]
            assert len(instance.requests) == 2

    def test_what_a_trusted_proxy_says_keeps_answers_apart(self, gateway: Start) -> None:
        """Whatever is said of host, scheme and prefix: an answer may have been made with it."""

        def reply(peer: Peer, request: Message) -> None:
            prefix = request.one("x-forwarded-prefix") or ""
            fields = ("Cache-Control: max-age=60", f"Location: http://{request.one('host')}{prefix}/items/")
            peer.send(saying(*fields, body=prefix))

        with RawInstance(reply) as instance:
            running = gateway({**TRUSTING, **self.cached()}, all=instance)
            for outcome in ("fwd=uri-miss", "hit"):
                for proto, host, outer in (
                    ("http", "one.test", ""),
                    ("https", "one.test", ""),
                    ("https", "two.test", ""),
                    ("https", "two.test", "/eu"),
                    ("https", "two.test", "/us"),
                ):
                    fields = [f"X-Forwarded-Proto: {proto}", f"X-Forwarded-Host: {host}"]
                    fields += [f"X-Forwarded-Prefix: {outer}"] if outer else []
                    got = get(running, "/api/items", *fields)
                    assert outcome in (got.one("cache-status") or "")
                    assert got.one("location") == f"{proto}://{host}{outer}/api/items/"
                    assert got.body.decode() == f"{outer}/api"

    def test_an_instance_that_has_gone_is_not_shown(self, gateway: Start) -> None:
        with RawInstance(lambda peer, _: peer.send(answer)) as gone, RawInstance(OK) as here:
            answer = saying("Cache-Control: max-age=60", f"Location: http://{gone.address}/items/")
            running = gateway(self.cached(), all=gone)
            get(running, "/api/items")
            running.apply(self.cached(), all=here)
            got = get(running, "/api/items")
            assert "hit" in (got.one("cache-status") or "")
            assert got.one("location") == "http://shop.test:8080/api/items/"

    def test_what_was_revalidated(self, gateway: Start) -> None:
        """A 304 that names an address anew, and one that names none."""
        with RawInstance(lambda peer, _: peer.send(answers.pop(0))) as instance:
            fields = ('ETag: "1"', "Cache-Control: max-age=0")
            answers = [
                saying(*fields, f"Content-Location: http://{instance.address}/a", status="200 OK", body="hello"),
                saying(*fields, status="304 Not Modified"),
                saying(*fields, f"Content-Location: http://{instance.address}/b", status="304 Not Modified"),
                saying(*fields, "Content-Location: items/", status="304 Not Modified"),
            ]
            running = gateway(self.cached(), all=instance)
            for name in ("a", "a", "b"):
                got = get(running, "/api/items")
                assert (got.status, got.body) == (200, b"hello")
                assert got.all("content-location") == [f"http://shop.test:8080/api/{name}"]
            assert get(running, "/api/items").all("content-location") == ["items/"]
            assert [request.one("if-none-match") for request in instance.requests] == [None, *['"1"'] * 3]

    def test_a_client_that_has_it_already(self, gateway: Start) -> None:
        with RawInstance(lambda peer, _: peer.send(answer)) as instance:
            said = ('ETag: "1"', "Cache-Control: max-age=60", f"Content-Location: http://{instance.address}/a")
            answer = saying(*said, status="200 OK")
            running = gateway(self.cached(), all=instance)
            for _ in range(2):
                got = get(running, "/api/items", 'If-None-Match: "1"')
                assert got.status == 304
                assert got.all("content-location") == ["http://shop.test:8080/api/a"]

    def test_a_revalidation_behind_the_client_asks_alike(self, gateway: Start) -> None:
        with RawInstance(saying("Cache-Control: max-age=0", "Location: /items/")) as instance:
            running = gateway(stripping(cache={"stale_while_revalidate": "1m"}), all=instance)
            for _ in range(2):
                assert get(running, "/api/items").one("location") == "/api/items/"
            wait_until(lambda: len(instance.requests) == 2)
            for request in instance.requests:
                assert (request.target, request.one("x-forwarded-prefix")) == ("/items", "/api")


def test_what_is_logged_is_what_the_client_was_told(gateway: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    policies: Mapping[str, Any] = {"access_log": {"output": str(log), "response_headers": ["Location"]}}
    with RawInstance(repeating) as instance:
        running = gateway({**stripping(), "policies": policies}, all=instance)
        get(running, "/api/x", "Say: Location: http://INSTANCE/x")
        wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
        assert instance.address not in re.sub(r'"instance":"[^"]*"', "", log.read_text())
        assert "http://shop.test:8080/api/x" in log.read_text()


def test_an_echo_of_everything(gateway: Start, echo: EchoInstance) -> None:
    """All that an instance is told of its client's address, at once."""
    seen = json.loads(get(gateway(stripping(), all=echo), "/api/items/7?x").body)
    fields = dict(seen["headers"])
    assert seen["target"] == "/items/7?x"
    told = {name: fields.get(name) for name in ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")}
    assert told == {
        "host": "shop.test:8080",
        "x-forwarded-host": "shop.test:8080",
        "x-forwarded-proto": "http",
        "x-forwarded-prefix": "/api",
    }
