"""Clients and servers that people really have agree with the gateway."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from support.instance import EchoInstance
from support.peer import wait_until
from support.programs import program
from support.running import Running, configure
from support.servers import nginx_instance, uvicorn_instance

BODY = bytes(n * 7 % 251 for n in range(300_000))
SEEN = {"length": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
LONG = 3_000_000
FILE = bytes(n * 11 % 253 for n in range(1_500_000))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway in front of uvicorn (`/…`) and nginx (`/files/…`)."""
    config = """
    workers: 2
    routes: [{prefix: /files, service: nginx, strip_prefix: true}, {prefix: /, service: uvicorn}]
    """
    with (
        uvicorn_instance() as uvicorn,
        nginx_instance(tmp_path_factory.mktemp("nginx"), {"file.bin": FILE}) as nginx,
    ):
        running = Running(configure(config, uvicorn=uvicorn, nginx=nginx))
        yield running.url
        running.stop()


def _curl(*arguments: str, data: bytes = b"") -> bytes:
    command = [program("curl"), "--silent", "--show-error", "--max-time", "30", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=40).stdout


def _subset(seen: Any) -> dict[str, Any]:
    return {key: seen[key] for key in SEEN}


class TestCurl:
    def test_get_and_head(self, url: str) -> None:
        assert json.loads(_curl(f"{url}/a"))["method"] == "GET"
        assert _curl("--head", f"{url}/a").startswith(b"HTTP/1.1 200 OK\r\n")
        assert _curl("--http1.0", f"{url}/bytes/{LONG}") == bytes(LONG)
        assert len(_curl(f"{url}/bytes/{LONG}")) == LONG

    @pytest.mark.parametrize("field", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]])
    def test_post(self, field: list[str], url: str) -> None:
        assert _subset(json.loads(_curl("--data-binary", "@-", *field, f"{url}/a", data=BODY))) == SEEN

    def test_an_upload_that_expects(self, url: str) -> None:
        body = BODY * 10
        seen = json.loads(_curl("--data-binary", "@-", f"{url}/a", data=body))
        assert seen["sha256"] == hashlib.sha256(body).hexdigest()

    def test_several_over_one_connection(self, url: str) -> None:
        made = _curl("-w", "%{stderr}%{num_connects}", *[f"{url}/bytes/10"] * 5)
        assert made == bytes(50)

    def test_files(self, url: str) -> None:
        assert _curl(f"{url}/files/file.bin") == FILE
        assert _curl("--range", "100-199", f"{url}/files/file.bin") == FILE[100:200]
        assert _curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/files/none") == b"404"

    def test_paths_as_they_are(self, url: str) -> None:
        seen = json.loads(_curl("--path-as-is", f"{url}/a/../b//c"))
        assert seen["path"] == "/b/c"


def test_http_client(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        for _ in range(3):
            connection.request("POST", "/a", BODY)
            assert _subset(json.load(connection.getresponse())) == SEEN
            connection.request("PUT", "/a", iter([BODY[:1000], BODY[1000:]]), encode_chunked=True)
            assert _subset(json.load(connection.getresponse())) == SEEN
            connection.request("HEAD", "/files/file.bin")
            answer = connection.getresponse()
            assert (answer.read(), answer.getheader("content-length")) == (b"", str(len(FILE)))
    finally:
        connection.close()


def test_httpx(url: str) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/a", params={"b": "c"}).json()["method"] == "GET"
        assert _subset(client.post("/a", content=BODY).json()) == SEEN
        assert _subset(client.post("/a", content=iter([BODY[:1000], BODY[1000:]])).json()) == SEEN
        assert client.head("/a").status_code == 200
        assert client.options("/a").json()["method"] == "OPTIONS"
        with client.stream("GET", f"/bytes/{LONG}") as answer:
            assert sum(len(piece) for piece in answer.iter_raw()) == LONG
        file = client.get("/files/file.bin")
        assert file.content == FILE
        again = client.get("/files/file.bin", headers={"If-None-Match": file.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = client.get("/files/file.bin", headers={"Range": "bytes=-10"})
        assert (part.status_code, part.content) == (206, FILE[-10:])
        assert client.post("/files/file.bin", content=BODY).status_code == 405
        assert client.get("/files/file.bin").content == FILE


def test_aiohttp(url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield BODY[:1000]
        yield BODY[1000:]

    async def talk() -> None:
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(30)) as session:

            async def post(body: Any) -> None:
                async with session.post("/a", data=body, expect100=body is not BODY) as answer:
                    assert _subset(await answer.json()) == SEEN

            async def get(path: str, length: int) -> None:
                async with session.get(path) as answer:
                    assert answer.status == 200
                    assert len(await answer.read()) == length

            await asyncio.gather(
                *(post(BODY) for _ in range(10)),
                *(post(pieces()) for _ in range(10)),
                *(get(f"/bytes/{LONG}", LONG) for _ in range(5)),
                *(get("/files/file.bin", len(FILE)) for _ in range(5)),
            )

    asyncio.run(talk())


NODE = """
const [url, length, file] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3])];
const body = Uint8Array.from({length: 300000}, (_, n) => n * 7 % 251);
const stream = () => new ReadableStream({
  start(c) { c.enqueue(body.slice(0, 1000)); c.enqueue(body.slice(1000)); c.close(); }
});
const stated = r => r.headers.get("content-length") === String(file);
const work = [];
for (let n = 0; n < 5; n++) {
  work.push(fetch(url + "/a", {method: "POST", body}).then(r => r.json()));
  work.push(fetch(url + "/a", {method: "POST", body: stream(), duplex: "half"}).then(r => r.json()));
  work.push(fetch(url + "/bytes/" + length).then(r => r.arrayBuffer()).then(b => b.byteLength === length));
  work.push(fetch(url + "/files/file.bin").then(r => r.arrayBuffer()).then(b => b.byteLength === file));
  work.push(fetch(url + "/files/file.bin", {method: "HEAD"}).then(stated));
}
Promise.all(work).then(done => console.log(JSON.stringify(done)));
"""


def test_fetch_of_node(url: str) -> None:
    command = [program("node", "nodejs"), "--eval", NODE, url, str(LONG), str(len(FILE))]
    done = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert len(done) == 25
    assert all(item is True or _subset(item) == SEEN for item in done)


@pytest.mark.parametrize("fields", [[], ["-H", "Connection: close"]])
def test_wrk(fields: list[str], gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway("workers: 2", all=echo)
    command = [program("wrk"), "-t", "1", "-c", "16", "-d", "1s", *fields, f"{running.url}/x"]
    said = subprocess.run(command, capture_output=True, check=True, timeout=30, text=True).stdout
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    found = re.search(r"(\d+) requests in", said)
    assert found
    assert int(found[1]) > 0


def test_a_reload_during_wrk(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    first, second = "workers: 2", "{workers: 2, policies: {security_headers: {}}}"
    running = gateway(first, all=echo)
    command = [program("wrk"), "-t", "1", "-c", "16", "-d", "60s", f"{running.url}/x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for n in range(100):
                running.apply(first if n % 2 else second, all=echo)
                answered = echo.count
                wait_until(lambda seen=answered: echo.count > seen)
            # It reports what it has counted so far.
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)[0]
        finally:
            process.kill()
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    assert "requests in" in said
