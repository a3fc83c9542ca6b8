"""The suites of `make conformance`: what their programs print is read right, and a verdict can be red."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from bench.processes import BenchError
from conformance import behind, suites
from conformance.run import attempt, main, markdown
from conformance.suites import SUITES, Counted, Suite, read_connect, read_h2spec

FOLDER = Path(__file__).parents[2] / "conformance"
H2SPEC = """\
Generic tests for HTTP/2 server
  1. Starting HTTP/2
    × 1: Sends a client connection preface

Failures:

Generic tests for HTTP/2 server
  1. Starting HTTP/2
    × 1: Sends a client connection preface
      -> The server connection preface MUST be the first frame.
           Expected: SETTINGS Frame (length:0, flags:0x00, stream_id:0)
             Actual: Timeout

Finished in 2.2557 seconds
146 tests, 144 passed, 1 skipped, 1 failed
"""
CONNECT = """\
FAILED: Basic/HTTPVersion:2/unary/success:
	expecting a response
Total cases: 3
2 passed, 1 failed
"""


def test_h2spec_is_read_without_what_it_skips() -> None:
    assert read_h2spec(H2SPEC) == Counted(145, ("Sends a client connection preface",))


def test_connectconformance_is_read() -> None:
    assert read_connect(CONNECT) == Counted(3, ("Basic/HTTPVersion:2/unary/success",))


@pytest.mark.parametrize("output", ["", "Error: connect: connection refused", H2SPEC.replace("1 failed", "2 failed")])
def test_h2spec_without_a_result_is_an_error(output: str) -> None:
    with pytest.raises(BenchError, match="h2spec"):
        read_h2spec(output)


@pytest.mark.parametrize("output", ["", CONNECT.replace("1 failed", "2 failed")])
def test_connectconformance_without_a_result_is_an_error(output: str) -> None:
    with pytest.raises(BenchError, match="connectconformance"):
        read_connect(output)


@pytest.mark.parametrize(
    ("counted", "wrong"),
    [
        (Counted(3, ("known",)), []),
        (Counted(4, ("known",)), []),
        (Counted(2, ("known",)), ["2 cases, 3 are known"]),
        (Counted(3, ("known", "new")), ["fails: new"]),
        (Counted(3, ()), ["passes: known"]),
    ],
)
def test_what_is_red(counted: Counted, wrong: list[str]) -> None:
    suite = Suite("one", "", 3, lambda _: counted, {"known": "for a reason"})
    outcome = attempt(suite)
    assert outcome.wrong == wrong
    verdict = "**red**" if wrong else "**green**"
    assert f"| one |  | {counted.cases} | {counted.passed} | {verdict} |" in markdown([outcome])
    assert "- one, known: for a reason" in markdown([outcome])


def test_a_program_that_is_not_there_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suites, "PROGRAMS", tmp_path)
    assert main(["--suites", "connect", "--out", str(tmp_path / "report.md")]) == 1
    assert "connectconformance is not built: `make conformance` builds it" in capsys.readouterr().out
    assert "**red**" in (tmp_path / "report.md").read_text()


def test_what_is_no_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--suites", "nonsense"])
    assert "choose from" in capsys.readouterr().err


def test_readme_and_report_have_each_suite() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    report = (FOLDER / "results" / "latest.md").read_text(encoding="utf-8")
    assert [name for name in SUITES if f"| `{name}` |" not in readme] == []
    lines = [line.split(" | ") for line in report.splitlines() if line.startswith("| ")]
    assert {cells[0].removeprefix("| "): cells[4] for cells in lines[1:]} == dict.fromkeys(SUITES, "**green**")


def test_messages_come_back() -> None:
    stream = io.BytesIO()
    behind.write_message(stream, b"abc")
    behind.write_message(stream, b"")
    stream.seek(0)
    assert [behind.read_message(stream), behind.read_message(stream)] == [b"abc", b""]


@pytest.mark.parametrize(("protocol", "version"), [("same", 1), ("http2", 2)])
def test_the_server_is_asked_for_the_same_without_tls(protocol: str, version: int) -> None:
    limit = b"\x30\x05"  # message_receive_limit, which nobody here knows
    request = behind.Request(http_version=1, use_tls=True, client_tls_cert=b"clients", server_creds=b"")
    request.MergeFromString(limit)
    asked = behind.for_server(request, protocol).SerializeToString()
    assert asked == bytes([0x10, version]) + limit


@pytest.mark.parametrize("cut", [0, 3, 4, 6])
def test_a_message_that_is_not_whole_is_an_error(cut: int) -> None:
    with pytest.raises(EOFError):
        behind.read_message(io.BytesIO(b"\0\0\0\x03abc"[:cut]))


def test_the_listener_is_what_a_request_asks_for(tmp_path: Path) -> None:
    assert behind.listener(behind.Request(http_version=2), tmp_path) == {"http2": True}
    credentials = behind.Credentials(cert=b"certificate", key=b"key").SerializeToString()
    asked = behind.Request(use_tls=True, client_tls_cert=b"clients", server_creds=credentials)
    tls = behind.listener(asked, tmp_path)["tls"]
    files = [tls["certificates"][0]["cert"], tls["certificates"][0]["key"], tls["client_auth"]["ca"]]
    assert [Path(file).read_bytes() for file in files] == [b"certificate", b"key", b"clients"]
