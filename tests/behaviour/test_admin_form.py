"""What a stranger sends to the admin API is answered with what is wrong, and never read otherwise than meant."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.admin import Admin
from support.instance import EchoInstance
from support.peer import Peer

Start = Callable[..., Admin]

JSON = "application/json"
TAG = json.dumps({"tag": "x"}).encode()


def refused(answer: Any) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "body", "words"),
    [
        ({}, TAG, "Content-Type: application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, TAG, "Content-Type: application/json"),
        ({"Content-Type": "text/json"}, TAG, "Content-Type: application/json"),
        ({"Content-Type": ";"}, TAG, "Content-Type: application/json"),
        ({"Content-Type": JSON, "Content-Encoding": "gzip"}, gzip.compress(TAG, mtime=0), "send the body as it is"),
        ({"Content-Type": JSON, "Content-Encoding": "x" * 5000}, TAG, "send the body as it is"),
    ],
    ids=["no type", "form", "text", "nothing", "gzip", "long"],
)
def test_a_body_that_says_something_else(
    admin: Start, echo: EchoInstance, fields: dict[str, str], body: bytes, words: str
) -> None:
    with admin(all=echo) as api:
        status, detail = refused(api.http.post("/cache/purge", content=body, headers=fields))
        assert (status, words in detail, len(detail) < 300) == (415, True, True)


@pytest.mark.parametrize("kind", [JSON, "Application/JSON; charset=utf-8", "application/vnd.shop+json"])
def test_a_body_that_says_that_it_is_json(admin: Start, echo: EchoInstance, kind: str) -> None:
    with admin(all=echo) as api:
        fields = {"Content-Type": kind, "Content-Encoding": "identity"}
        assert api.http.post("/cache/purge", content=TAG, headers=fields).status_code == 200


def test_configurations_are_of_any_type_but_not_compressed(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        for kind in ("text/plain", "application/yaml", "application/x-www-form-urlencoded"):
            answer = api.http.post("/config/validate", content=b"services: {}", headers={"Content-Type": kind})
            assert answer.status_code == 200
        fields = {"Content-Encoding": "gzip"}
        answer = api.http.post("/config/validate", content=gzip.compress(b"services: {}"), headers=fields)
        assert refused(answer)[0] == 415


def test_a_parameter_that_is_not_there(admin: Start, echo: EchoInstance) -> None:
    """One that is misspelt would have closed all breakers, for example."""
    with admin("services: {all: {circuit_breaker: {}}}", all=echo) as api:
        status, detail = refused(api.http.post("/breakers/all/reset?instnace=http://192.0.2.1:80"))
        assert status == 422
        assert detail == "the query has no parameter `instnace`; there are instance; did you mean `instance`?"
        for query in ("x", "x=1", f"{'x' * 5000}=1", "%00=1", "token=a"):
            status, detail = refused(api.http.get(f"/status?{query}"))
            assert (status, len(detail) < 300) == (422, True)
        assert refused(api.http.get("/exchanges?most=1&most=2")) == (422, "the query has the parameter `most` twice")
        assert api.http.get("/exchanges?most=1").status_code == 200
        assert api.http.get("/status?").status_code == 200


@pytest.mark.parametrize(
    "path", ["/status/", "//status", "/Status", "/services/a%2Fb", "/nothing", "/services/../status"]
)
def test_a_path_that_is_not_there(admin: Start, echo: EchoInstance, path: str) -> None:
    with admin(all=echo) as api, Peer.connect(api.address) as peer:
        fields = f"Host: localhost\r\nAuthorization: Bearer {api.token}\r\n"
        peer.send(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        answer = peer.read_answer()
        assert (answer.status, b"`/` describes all paths" in answer.body) == (404, True)


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["no host", "hosts", "space", "nonsense", "lengths"],
)
def test_what_is_no_request(admin: Start, echo: EchoInstance, head: str) -> None:
    with admin(all=echo) as api, Peer.connect(api.address) as peer:
        peer.send(head.encode())
        answer = peer.read_answer()
        document = json.loads(answer.body)
        assert (answer.status, document["status"], document["title"]) == (400, 400, "Bad Request")
        assert "Host" in document["detail"]
        assert answer.one("Content-Type") == "application/problem+json"
        assert answer.one("X-Content-Type-Options") == "nosniff"
