"""`PYLAE_LOG`: what the data plane does, step by step, on standard error; nothing of it without the variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support.exchanges import ask
from support.instance import EchoInstance, RawInstance
from support.running import Process, configure

SECRETS = ("letmein", "t0ken", "cr4cker", "c0llected")
REQUEST = (
    "GET /users/7?key=letmein HTTP/1.1\r\n"
    "Host: shop.test\r\n"
    "Authorization: Bearer t0ken\r\n"
    "Cookie: session=cr4cker\r\n"
    "X-Secret: c0llected\r\n"
    "X-Request-Id: one\r\n\r\n"
)
LINE = re.compile(r"\S+Z DEBUG (?P<thread>\S+) (?P<target>[\w:]+): (?P<event>.*)")


def events(process: Process) -> list[re.Match[str]]:
    """The lines of the data plane among those that were read."""
    return [found for line in process.printed if (found := LINE.match(line.strip()))]


def test_the_steps_of_a_request_and_none_of_its_secrets(
    gateway_process: Callable[..., Process], instance: RawInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLAE_LOG", "debug")
    process = gateway_process("routes: [{name: users, prefix: /users, service: all}]", all=instance)
    with process.connect() as peer:
        peer.send(REQUEST.encode())
        assert peer.read_answer().status == 200
    process.read_until("connection closed")
    lines = events(process)
    assert {line["thread"] for line in lines if line["target"].startswith("pylae_proxy")} == {"pylae-worker-0"}
    steps = [line["event"] for line in lines]
    expected = [
        r"connection accepted peer=127\.0\.0\.1:\d+ listener=127\.0\.0\.1:0",
        r"request head read id=one peer=127\.0\.0\.1:\d+ method=GET host=shop\.test path=/users/7",
        r"route chosen id=one route=users",
        rf"attempt begun id=one number=1 service=all instance=\"{re.escape(instance.url)}\"",
        r"over a new connection id=one",
        r"attempt over id=one outcome=Status\(200\) sent=true",
        r"exchange over id=one status=200 bytes_in=0 bytes_out=\d+ complete=true",
        r"connection closed peer=127\.0\.0\.1:\d+",
    ]
    assert len(steps) == len(expected), steps
    assert all(re.fullmatch(one, step) for one, step in zip(expected, steps, strict=True)), steps
    assert not [line for line in process.printed for secret in SECRETS if secret in line]


def test_why_a_request_did_not_get_its_answer(
    gateway_process: Callable[..., Process], dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLAE_LOG", "pylae_proxy=debug,h2=info")
    process = gateway_process(
        """
        routes:
        - {name: barred, path: /barred, service: users, ip_access: {deny: [127.0.0.0/8]}}
        - {name: users, prefix: /users, service: users, retries: 1}
        """,
        users=dead_url,
    )
    expected = {
        "/barred": [
            r"rejected by a policy .* policy=\"ip_access\" code=\"address_refused\"",
            r"exchange over .*status=403",
        ],
        "/nothing": [r"no route .* code=\"no_route\"", r"exchange over .* status=404 code=\"no_route\""],
        "/users": [
            r"attempt begun .*number=1",
            r"no connection .*error=Connection refused",
            r"attempt over .*outcome=ConnectFailed sent=false",
            r"attempt to be repeated",
            r"attempt begun .*number=2",
            r"exchange over .*status=502 code=\"connect_failed\"",
        ],
    }
    for path, steps in expected.items():
        del process.printed[:]
        ask(process.address, path)
        process.read_until("connection closed")
        seen = "\n".join(line["event"] for line in events(process))
        assert re.search(".*\n(.*\n)*?".join(steps), seen), seen


def test_nothing_without_the_variable(gateway_process: Callable[..., Process], echo: EchoInstance) -> None:
    process = gateway_process(all=echo)
    assert ask(process.address).status == 200
    process.process.terminate()
    assert process.wait() == 0
    with pytest.raises(AssertionError, match="ended without"):
        process.read_until("what is never said, so that all is read")
    assert process.printed
    assert not events(process)


@pytest.mark.parametrize("value", ["debgu", "pylae_proxy", "debug,h2=loud"])
def test_a_bad_value_ends_it_and_says_what_a_good_one_is(value: str, tmp_path: Path, echo: EchoInstance) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(yaml.safe_dump(configure(all=echo)), encoding="utf-8")
    command = [sys.executable, "-m", "pylae", "run", str(file)]
    environment = {**os.environ, "PYLAE_LOG": value}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3, ended.stderr
    wrong = re.split("[,=]", value)[-1]
    assert f"pylae: the environment variable PYLAE_LOG: `{wrong}` is not a level" in ended.stderr
    assert "`pylae_proxy=debug,h2=info`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_several_engines_in_one_process_write_each_line_once(tmp_path: Path, echo: EchoInstance) -> None:
    program = tmp_path / "two.py"
    program.write_text(
        "import urllib.request\n"
        "from pylae import Gateway\n"
        f"gateways = [Gateway(**{configure(all=echo)!r}) for _ in range(2)]\n"
        "for gateway in gateways:\n"
        "    urllib.request.urlopen(f'http://{gateway.start()[0]}/').close()\n"
        "for gateway in gateways:\n"
        "    gateway.stop()\n"
    )
    environment = {**os.environ, "PYLAE_LOG": "debug"}
    ended = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("request head read") == 2
    assert "panic" not in ended.stderr


def test_it_serves_on_when_nobody_reads_standard_error(tmp_path: Path, echo: EchoInstance) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(yaml.safe_dump(configure(all=echo)), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "pylae", "run", str(file)],
        env={**os.environ, "PYLAE_LOG": "debug"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        address = next(found[0] for line in process.stderr if (found := re.search(r"127\.0\.0\.1:\d+", line)))
        process.stderr.close()
        assert [ask(address).status for _ in range(2)] == [200, 200]
    finally:
        process.kill()
        process.wait()
