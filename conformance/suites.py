"""The suites, and what each must come to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme
from bench.processes import BenchError
from chaos.instance import Instance

from conformance.gateway import gateway

PROGRAMS = Path(__file__).parent / "bin"
"""What `make` builds of go.mod."""
_LONGEST = 900.0
"""Seconds that a suite may take."""


@dataclass(frozen=True)
class Counted:
    """What a suite says of itself."""

    cases: int
    failed: tuple[str, ...]
    """Names of those that failed."""

    @property
    def passed(self) -> int:
        """How many passed."""
        return self.cases - len(self.failed)


@dataclass(frozen=True)
class Suite:
    """A suite, in one of the ways in which it is run."""

    name: str
    what: str
    cases: int
    """At least so many must be run: a suite that leaves some out has not passed."""
    run: Callable[[Path], Counted]
    known: Mapping[str, str]
    """Cases that fail, and why they do. One that passes is no longer known, and is red as well."""

    def wrong(self, counted: Counted) -> list[str]:
        """What is not as it must be."""
        few = [f"{counted.cases} cases, {self.cases} are known"] if counted.cases < self.cases else []
        failed = [f"fails: {name}" for name in counted.failed if name not in self.known]
        return few + failed + [f"passes: {name}" for name in self.known if name not in counted.failed]


def _h2spec(over_tls: bool) -> Callable[[Path], Counted]:
    def run(folder: Path) -> Counted:
        instance = Instance(folder)
        try:
            made = trustme.CA().issue_cert("localhost")
            made.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
            pair = {"cert": str(folder / "server.pem"), "key": str(folder / "server.pem")}
            listener = {"tls": {"certificates": [pair]}} if over_tls else {"http2": True}
            service = {"instances": [f"http://127.0.0.1:{instance.port}"]}
            with gateway(folder, service, listener) as port:
                # Cases of flow control take a body of five bytes.
                words = ["h2spec", "--strict", "--port", str(port), "--path", "/stream/1"]
                return read_h2spec(_output([*words, "--tls", "--insecure"] if over_tls else words))
        finally:
            instance.kill()

    return run


def _connect(protocol: str) -> Callable[[Path], Counted]:
    def run(folder: Path) -> Counted:
        file = folder / "features.yaml"
        file.write_text(json.dumps({"features": _FEATURES}))
        words = ["connectconformance", "--mode", "server", "--conf", str(file), "--"]
        behind = [sys.executable, "-m", "conformance.behind", str(folder), protocol]
        return read_connect(_output([*words, *behind]))

    return run


def _output(words: list[str]) -> str:
    """What a program of a suite prints; it is left beside the program as well.

    Raises:
        BenchError: it is not there, or takes too long.
    """
    program = PROGRAMS / words[0]
    try:
        ended = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, errors="replace", timeout=_LONGEST, check=False
        )
    except FileNotFoundError as error:
        raise BenchError(f"{program.name} is not built: `make conformance` builds it") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{program.name} takes longer than {_LONGEST:.0f} s") from error
    program.with_suffix(".log").write_text(ended.stdout + ended.stderr)
    return ended.stdout + ended.stderr


def read_h2spec(output: str) -> Counted:
    """What h2spec has counted.

    Raises:
        BenchError: it has not come to its end.
    """
    totals = re.search(r"^(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output, re.MULTILINE)
    if not totals:
        raise BenchError(f"h2spec has no result: {output[-600:].strip()}")
    tests, _, skipped, failed = map(int, totals.groups())
    listed = output.partition("Failures:")[2]
    names = tuple(re.findall(r"^ *× \d+: (.+)$", listed, re.MULTILINE))
    if len(names) != failed:
        raise BenchError(f"h2spec counts {failed} failures and lists {len(names)}")
    return Counted(tests - skipped, names)


def read_connect(output: str) -> Counted:
    """The same for connectconformance."""
    totals = re.search(r"^(\d+) passed, (\d+) failed", output, re.MULTILINE)
    if not totals:
        raise BenchError(f"connectconformance has no result: {output[-600:].strip()}")
    passed, failed = map(int, totals.groups())
    names = tuple(re.findall(r"^FAILED: (.+):$", output, re.MULTILINE))
    if len(names) != failed:
        raise BenchError(f"connectconformance counts {failed} failures and lists {len(names)}")
    return Counted(passed + failed, names)


_FEATURES = {
    "versions": ["HTTP_VERSION_1", "HTTP_VERSION_2"],
    "protocols": ["PROTOCOL_CONNECT", "PROTOCOL_GRPC", "PROTOCOL_GRPC_WEB"],
    "codecs": ["CODEC_PROTO", "CODEC_JSON"],
    "compressions": [f"COMPRESSION_{name}" for name in ("IDENTITY", "GZIP", "BR", "ZSTD", "DEFLATE", "SNAPPY")],
    "stream_types": [
        f"STREAM_TYPE_{name}"
        for name in ("UNARY", "CLIENT_STREAM", "SERVER_STREAM", "HALF_DUPLEX_BIDI_STREAM", "FULL_DUPLEX_BIDI_STREAM")
    ],
    "supports_h2c": True,
    "supports_tls": True,
    "supports_tls_client_certs": True,
    "supports_trailers": True,
    "supports_half_duplex_bidi_over_http1": True,
    "supports_connect_get": True,
    "supports_message_receive_limit": True,
}
"""Of the gateway: everything that the suite has but HTTP/3."""

SUITES = {
    suite.name: suite
    for suite in (
        Suite("h2spec-tls", "HTTP/2 (RFC 9113) and HPACK (RFC 7541), strict, over TLS", 146, _h2spec(True), {}),
        Suite(
            "h2spec-cleartext",
            "the same without TLS",
            146,
            _h2spec(False),
            {"Sends invalid connection preface": "who does not begin with the preface speaks HTTP/1.1 there"},
        ),
        Suite(
            "connect", "Connect, gRPC and gRPC-Web; instances are asked as clients ask", 10_756, _connect("same"), {}
        ),
        Suite("connect-http2", "the same, instances are asked over HTTP/2", 10_756, _connect("http2"), {}),
    )
}
