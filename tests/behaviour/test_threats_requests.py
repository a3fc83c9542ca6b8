"""Bytes that must be refused (`threats.md`: framing, syntax, Host, target, nominations, Expect).

Each case is followed by a second request in the same write. Whatever the gateway makes of the first, nothing of either
may reach the instance, and the connection must be closed behind the one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.instance import OK, RawInstance
from support.running import Running

CaseTable = dict[str, tuple[int, bytes]]

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def _post(fields: bytes, body: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /x " + version + b"\r\nHost: a\r\n" + fields + b"\r\n\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", body)


def _get(target: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"


def _with(fields: bytes) -> bytes:
    return b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n"


FRAMING: CaseTable = {
    "length and chunked": (400, _post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n")),
    "chunked and length": (400, _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n")),
    "two equal lengths": (400, _post(b"Content-Length: 5\r\nContent-Length: 5", b"hello")),
    "two different lengths": (400, _post(b"Content-Length: 5\r\nContent-Length: 6", b"hello")),
    "list of lengths": (400, _post(b"Content-Length: 5, 5", b"hello")),
    "signed length": (400, _post(b"Content-Length: +5", b"hello")),
    "negative length": (400, _post(b"Content-Length: -5", b"hello")),
    "hexadecimal length": (400, _post(b"Content-Length: 0x5", b"hello")),
    "empty length": (400, _post(b"Content-Length: ", b"")),
    "length with a space inside": (400, _post(b"Content-Length: 1 0", b"hello")),
    "length of twenty digits": (400, _post(b"Content-Length: 00000000000000000005", b"hello")),
    "length beyond 64 bits": (400, _post(b"Content-Length: 18446744073709551617", b"h")),
    "length with a fraction": (400, _post(b"Content-Length: 5.0", b"hello")),
    "chunked twice": (400, _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n")),
    "chunked, chunked": (400, _post(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n")),
    "identity coding": (400, _post(b"Transfer-Encoding: identity", b"0\r\n\r\n")),
    "gzip before chunked": (400, _post(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n")),
    "chunked before gzip": (400, _post(b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n")),
    "chunked with a parameter": (400, _post(b"Transfer-Encoding: chunked;q=1", b"0\r\n\r\n")),
    "quoted chunked": (400, _post(b'Transfer-Encoding: "chunked"', b"0\r\n\r\n")),
    "chunked with a vertical tab": (400, _post(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n")),
    "empty coding": (400, _post(b"Transfer-Encoding:", b"0\r\n\r\n")),
    "chunked in HTTP/1.0": (400, _post(b"Transfer-Encoding: chunked", b"0\r\n\r\n", b"HTTP/1.0")),
    "white space before the colon": (400, _post(b"Transfer-Encoding : chunked", b"0\r\n\r\n")),
    "folded coding": (400, _post(b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n")),
}

SYNTAX: CaseTable = {
    "bare LF behind the request line": (400, b"GET /x HTTP/1.1\nHost: a\r\n\r\n"),
    "bare LF behind a field": (400, b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare LF at the end of the head": (400, b"GET /x HTTP/1.1\r\nHost: a\r\n\n"),
    "bare CR in a value": (400, _with(b"X: a\rb")),
    "NUL in a value": (400, _with(b"X: a\x00b")),
    "control character in a value": (400, _with(b"X: a\x01b")),
    "DEL in a value": (400, _with(b"X: a\x7fb")),
    "folded field": (400, _with(b"X: a\r\n b")),
    "folded first field": (400, b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    "space before the colon": (400, _with(b"X : a")),
    "tab before the colon": (400, _with(b"X\t: a")),
    "space in a name": (400, _with(b"X Y: a")),
    "empty name": (400, _with(b": a")),
    "no colon": (400, _with(b"nonsense")),
    "name with a bracket": (400, _with(b"X(: a")),
    "name with a byte above 127": (400, _with(b"X\xe9: a")),
    "NUL in a name": (400, _with(b"X\x00Y: a")),
    "two spaces behind the method": (400, b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces before the version": (400, b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tab in the request line": (400, b"GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space behind the version": (400, b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "space before the method": (400, b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no version": (400, b"GET /x\r\nHost: a\r\n\r\n"),
    "lower-case version": (400, b"GET /x http/1.1\r\nHost: a\r\n\r\n"),
    "version with two digits": (400, b"GET /x HTTP/1.11\r\nHost: a\r\n\r\n"),
    "version 2.0": (505, b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n"),
    "version 0.9": (505, b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n"),
    "method that is no token": (400, b"G@T /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "endless method": (400, b"A" * 100 + b" /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two empty lines first": (400, b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TLS instead of HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    "CONNECT with a path": (501, b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
}

HOST: CaseTable = {
    "no Host": (400, b"GET /x HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "two Hosts in HTTP/1.0": (400, b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "empty Host": (400, b"GET /x HTTP/1.1\r\nHost:\r\n\r\n"),
    "list of Hosts": (400, b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "Host with a path": (400, b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with a user": (400, b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "Host with a space": (400, b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "Host with an encoded byte": (400, b"GET /x HTTP/1.1\r\nHost: a%2eb\r\n\r\n"),
    "Host with an empty label": (400, b"GET /x HTTP/1.1\r\nHost: a..b\r\n\r\n"),
    "Host that is only a port": (400, b"GET /x HTTP/1.1\r\nHost: :80\r\n\r\n"),
    "port out of range": (400, b"GET /x HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    "port zero": (400, b"GET /x HTTP/1.1\r\nHost: a:0\r\n\r\n"),
    "port that is no number": (400, b"GET /x HTTP/1.1\r\nHost: a:8x\r\n\r\n"),
    "signed port": (400, b"GET /x HTTP/1.1\r\nHost: a:+80\r\n\r\n"),
    "unclosed bracket": (400, b"GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "brackets without an address": (400, b"GET /x HTTP/1.1\r\nHost: [a]\r\n\r\n"),
    "IPv6 without brackets": (400, b"GET /x HTTP/1.1\r\nHost: ::1\r\n\r\n"),
    "bad Host beside an absolute target": (400, b"GET http://a/x HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "no Host beside an absolute target": (400, b"GET http://a/x HTTP/1.1\r\n\r\n"),
}

TARGET: CaseTable = {
    "encoded slash": (400, _get(b"/a%2fb")),
    "encoded slash in capitals": (400, _get(b"/a%2Fb")),
    "encoded backslash": (400, _get(b"/a%5cb")),
    "encoded NUL": (400, _get(b"/a%00b")),
    "backslash": (400, _get(b"/a\\b")),
    "fragment": (400, _get(b"/a#b")),
    "percent without digits": (400, _get(b"/a%zz")),
    "percent at the end": (400, _get(b"/a%")),
    "half a percent-encoding": (400, _get(b"/a%2")),
    "overlong UTF-8": (400, _get(b"/a%c0%af")),
    "not UTF-8": (400, _get(b"/a%ff")),
    "surrogate": (400, _get(b"/a%ed%a0%80")),
    "dots with a parameter": (400, _get(b"/a/..;/b")),
    "encoded dots with a parameter": (400, _get(b"/a/%2e%2e;x/b")),
    "dots with an encoded parameter": (400, _get(b"/a/..%3b/b")),
    "above the root": (400, _get(b"/../a")),
    "above the root, encoded": (400, _get(b"/a/%2e%2e/%2e%2e/b")),
    "byte above 127": (400, _get(b"/\xe9")),
    "control character": (400, _get(b"/a\x01b")),
    "DEL": (400, _get(b"/a\x7fb")),
    "asterisk": (400, _get(b"*")),
    "authority": (400, _get(b"a:80")),
    "no slash": (400, _get(b"a/b")),
    "only a query": (400, _get(b"?a")),
    "other scheme": (400, _get(b"ftp://a/b")),
    "absolute without authority": (400, _get(b"http:///x")),
    "absolute with a user": (400, _get(b"http://u@a/x")),
    "absolute with a bad port": (400, _get(b"http://a:99999/x")),
    "absolute with a backslash": (400, _get(b"http://a\\@b/x")),
    "control character in the query": (400, _get(b"/a?\x01")),
    "fragment behind the query": (400, _get(b"/a?b#c")),
}

CONNECTION: CaseTable = {
    f"nominates {name}": (400, _with(f"{name}: 1\r\nConnection: close, {name}".encode()))
    for name in (
        "Authorization",
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Request-ID",
        "X-User-ID",
        "x_user_id",
        "X-User-Role",
        "X-User-Email",
        "traceparent",
    )
} | {
    "nominates Host": (400, _with(b"Connection: host")),
    "nominates Content-Length": (400, _post(b"Connection: content-length\r\nContent-Length: 5", b"hello")),
    "nominates Transfer-Encoding": (
        400,
        _post(b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    ),
    "nominates something that is no name": (400, _with(b"Connection: a b")),
    "nominates very much": (400, _with(b"Connection: " + b", ".join(b"n%d" % n for n in range(40)))),
    "unknown expectation": (417, _post(b"Expect: 200-ok\r\nContent-Length: 5", b"hello")),
    "two expectations": (417, _post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5", b"hello")),
    "list of expectations": (417, _post(b"Expect: 100-continue, x\r\nContent-Length: 5", b"hello")),
}

CASES: CaseTable = {
    f"{kind}: {name}": case
    for kind, table in (
        ("framing", FRAMING),
        ("syntax", SYNTAX),
        ("host", HOST),
        ("target", TARGET),
        ("connection", CONNECTION),
    )
    for name, case in table.items()
}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Running, RawInstance]]:
    """One gateway for all cases: none of them may disturb the others."""
    from support.running import configure

    with RawInstance(OK) as instance:
        running = Running(configure(all=instance))
        yield running, instance
        running.stop()


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_the_connection_closed(name: str, shared: tuple[Running, RawInstance]) -> None:
    running, instance = shared
    status, data = CASES[name]
    before = instance.received
    answers = running.raw(data + SECOND)
    assert [answer.status for answer in answers] == [status]
    assert answers[0].one("connection") == "close"
    assert answers[0].one("x-request-id")
    assert instance.received == before


CHUNKED_BODIES = {
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than its size": b"4\r\nhello\r\n0\r\n\r\n",
    "signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "prefixed size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "underscore in the size": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size of many digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size beyond what numbers hold": b"fffffffffffffff0\r\nhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "empty extension": b"5;\r\nhello\r\n0\r\n\r\n",
    "extension without a name": b"5;=b\r\nhello\r\n0\r\n\r\n",
    "extension without its value": b"5;a=\r\nhello\r\n0\r\n\r\n",
    "extension with a blank at its end": b"5;a \r\nhello\r\n0\r\n\r\n",
    "extension of two words": b"5;a b\r\nhello\r\n0\r\n\r\n",
    "extension that is no token": b"5;a=(b)\r\nhello\r\n0\r\n\r\n",
    "line end in a quoted extension": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "escaped line end in an extension": b'5;a="b\\\r\n"\r\nhello\r\n0\r\n\r\n',
    "text behind a quoted extension": b'5;a="b"c\r\nhello\r\n0\r\n\r\n',
    "extension of the last chunk": b"5\r\nhello\r\n0;a=b=c\r\n\r\n",
    "endless extension": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "many extensions": b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 600 + b"0\r\n\r\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
    "bare LF in a trailer": b"5\r\nhello\r\n0\r\nX: a\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
    "control character in a trailer": b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    "too many trailers": b"5\r\nhello\r\n0\r\n" + b"X: a\r\n" * 100 + b"\r\n",
    "too large trailers": b"5\r\nhello\r\n0\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
}


@pytest.mark.parametrize("name", CHUNKED_BODIES)
def test_a_broken_chunked_body_ends_the_exchange(name: str, gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        answers = running.raw(_chunked(CHUNKED_BODIES[name]) + SECOND)
        assert [answer.status for answer in answers] == [400]
        assert answers[0].one("connection") == "close"
        # The instance may have seen the head and good chunks, but never the end of the body nor what came behind it.
        if instance.connections:
            peer = instance.accept()
            while not peer.at_end():
                peer.read(len(peer.pending()))
            assert b"0\r\n\r\n" not in peer.received
            assert b"smuggled" not in peer.received


ACCEPTED = {
    "one empty line first": (b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
    "higher minor version": (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", "/x"),
    "no white space behind the colon": (b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n", "/x"),
    "much white space around a value": (b"GET /x HTTP/1.1\r\nHost: \t a \t \r\n\r\n", "/x"),
    "bytes above 127 in a value": (_with(b"X: \xe9"), "/x"),
    "Host with a port": (b"GET /x HTTP/1.1\r\nHost: a:8080\r\n\r\n", "/x"),
    "Host that is IPv6": (b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/x"),
    "Host with a final dot": (b"GET /x HTTP/1.1\r\nHost: a.b.\r\n\r\n", "/x"),
    "dot segments": (_get(b"/a/./b/../c"), "/a/c"),
    "encoded dot segments": (_get(b"/a/%2e/b/%2E%2e/c"), "/a/c"),
    "double slashes": (_get(b"//a///b//"), "/a/b/"),
    "encoded letters": (_get(b"/%61%7Eb"), "/a~b"),
    "lower-case hexadecimal": (_get(b"/%c3%a9"), "/%C3%A9"),
    "what URIs may not hold": (_get(b"/{a}|b"), "/%7Ba%7D%7Cb"),
    "query as sent": (_get(b"/x?a=%2f%00&b=//../"), "/x?a=%2f%00&b=//../"),
    "empty query": (_get(b"/x?"), "/x?"),
    "absolute": (b"GET http://other/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y"),
    "absolute without a path": (b"GET http://other HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
    "unknown method": (b"FROBNICATE /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_accepted_in_canonical_form(name: str, shared: tuple[Running, RawInstance]) -> None:
    running, instance = shared
    data, target = ACCEPTED[name]
    assert running.raw(data, 1)[0].status == 200
    assert instance.requests[-1].target == target


def test_chunk_extensions_end_here(gateway: Callable[..., Running], instance: RawInstance) -> None:
    body = b'2;a\r\nhe\r\n3 ; b\t= "c;\\"" ;d=e\r\nllo\r\n0;last=""\r\n\r\n'
    assert gateway(all=instance).raw(_chunked(body), 1)[0].status == 200
    assert instance.requests[0].body == b"hello"
    assert b";" not in instance.requests[0].raw_head + instance.received.partition(b"\r\n\r\n")[2]


def test_no_byte_at_a_time_changes_the_verdict(shared: tuple[Running, RawInstance]) -> None:
    running, instance = shared
    for name in ("framing: length and chunked", "syntax: folded field", "host: two Hosts", "target: encoded slash"):
        status, data = CASES[name]
        before = instance.received
        with running.connect() as client:
            client.send(*(data[i : i + 1] for i in range(len(data))))
            assert client.read_answer().status == status
            assert client.at_end()
        assert instance.received == before


def test_the_authority_of_an_absolute_target_decides(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(
        "routes: [{prefix: /, host: inner.test, service: all}]",
        all=instance,
    )
    assert running.raw(b"GET http://inner.test/ HTTP/1.1\r\nHost: outer.test\r\n\r\n", 1)[0].status == 200
    assert instance.requests[0].one("x-forwarded-host") == "inner.test"
    assert running.raw(b"GET http://outer.test/ HTTP/1.1\r\nHost: inner.test\r\n\r\n", 1)[0].status == 404


def test_asterisk_is_for_options(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(all=instance)
    assert running.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1)[0].status in (200, 404)


def test_routing_and_instance_see_the_same_path(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(
        "routes: [{prefix: /public, service: all}, {prefix: /admin, service: all, method: DELETE}]",
        all=instance,
    )
    for target in ("/public/../admin", "/public/%2e%2e/admin", "//admin", "/%61dmin", "/./admin/"):
        assert running.get(target).status == 405, target
    assert instance.requests == []
