"""A folder in which the commands of a page run as in a shell of its own, with a home and ports of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx

import pylae
from pylae import Gateway
from pylae.testing import FakeService
from support.pages.blocks import WrongBlockError
from support.peer import wait_until
from support.terminal import Terminal

_PATIENCE = 60.0
LISTENER, ADMIN = "127.0.0.1:8080", "127.0.0.1:9901"
"""What pages say; in the sandbox it is a free port."""
_INSTANCE = re.compile(r"\b(?:127\.0\.0\.1:90\d\d|10\.0\.\d+\.\d+:\d+)\b(?!/\d)")
_REVISION = re.compile(r'"[0-9a-f]{8}-\d+"')
_ETAG = re.compile(r'etag: ("[^"]+")', re.IGNORECASE)
_REQUEST = re.compile(r"(?:^\d\d:\d\d:\d\d +\d{3} .*? | method=)([A-Z]+) (?:.* path=)?(/\S*)")
_TAKEN = re.compile("configuration (?:was not )?applied")
_READY = {
    "run": r"serving \d+ .*\n",
    "demo": r"Ctrl-C stops everything",
    "uvicorn": r"running on .*\n",
    "tail": r"\n",
}
"""What a command that does not end by itself says when it is ready, by the word that it is known by."""
_ENDLESS = re.compile(r"^(?:\w+=\S+ )*(?:pylae (run|demo|tail)|(uvicorn))\b")
_SESSION = """\
test -f "$HOME/session" && . "$HOME/session" >/dev/null
cd "$(cat "$HOME/directory")"
{command}
status=$?
pwd > "$HOME/directory"; export -p > "$HOME/session"
exit $status
"""


class Sandbox:
    """A shell session; what it has started is stopped at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = folder / "bin"
        self.home.mkdir()
        self.programs.mkdir()
        for name, words in (("pylae", "-m pylae"), ("python", ""), ("uvicorn", "-m uvicorn")):
            self.program(name, f'exec {sys.executable} {words} "$@"')
        (self.home / ".curlrc").write_text("silent\nshow-error\nfail\n")
        (self.home / "directory").write_text(str(folder))
        self.env = {
            **os.environ,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(pylae.__file__).parents[1]),
            "PYTEST_ADDOPTS": "-p pylae.testing.plugin -p no:cacheprovider -p no:randomly",
            "NO_COLOR": "1",
            "PYLAE_ADMIN": "",
            "EDITOR": "true",
        }
        self.stand_ins: dict[str, str] = {}
        """Addresses that pages say, and those that there are."""
        self.revision = ""
        self._fakes: list[FakeService] = []
        self._runs: list[Terminal] = []
        """Gateways."""
        self._others: list[Terminal] = []
        self._with = ""

    def program(self, name: str, script: str) -> None:
        """Puts a program on the path."""
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    @property
    def directory(self) -> Path:
        """Where the shell is."""
        return Path((self.home / "directory").read_text().strip())

    @property
    def url(self) -> str:
        """Where the gateway answers that was started last."""
        return f"http://{self.stand_ins[LISTENER]}"

    @property
    def gateway(self) -> Terminal:
        """The terminal of the gateway that was started last."""
        return self._runs[-1]

    def run(self, command: str, shown: tuple[str, ...] = (), where: str = "") -> None:
        """Runs a command of a page, which must succeed and say what is shown of it."""
        said = self.start(command, shown) if _ENDLESS.match(command) else self.finish(command)
        missing = [line for line in shown if line.strip() and not re.search(shape(line), said)]
        if missing:
            raise WrongBlockError(f"{where}: `{command}` did not say {missing[0]!r} but:\n{said}")

    def finish(self, command: str) -> str:
        """Runs a command that ends, and gives what it says. If it changes the file of the gateway, waits for that."""
        served = self.directory / self._with if self._with else None
        before, taken = (served.read_bytes(), self._taken()) if served else (b"", 0)
        done = subprocess.run(
            ["bash", "-c", _SESSION.replace("{command}", self.translated(command))],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise WrongBlockError(f"`{command}` failed with {done.returncode}: {done.stdout}")
        if found := _ETAG.search(done.stdout):
            self.revision = found[1]
        if served and served.exists() and served.read_bytes() != before:
            wait_until(lambda: self._taken() > taken)
        return done.stdout

    def _taken(self) -> int:
        """How many configurations the gateway has applied or refused so far."""
        self.gateway.shows(_READY["run"])
        return len(_TAKEN.findall(self.gateway.text))

    def start(self, command: str, shown: tuple[str, ...] = ()) -> str:
        """Starts a command that serves or watches, and gives what it says until then; it ends with the sandbox."""
        found = _ENDLESS.match(command)
        assert found
        kind = found[1] or found[2]
        if kind == "run":
            self.end_runs()
            self._free_ports()
        if kind == "demo":
            command += " --port 0"
        said = re.search(r"--port (\d+)", command)
        if kind == "uvicorn":
            command = re.sub(r"--port \d+", "--port 0", command)
        serving = {"PYLAE_ADMIN": "127.0.0.1:0"} if kind == "run" else {}
        words = ("env", *(f"{key}={value}" for key, value in serving.items()), "bash", "-c", self.translated(command))
        terminal = Terminal(*words, cwd=self.directory, env=self.env)
        (self._runs if kind == "run" else self._others).append(terminal)
        if kind == "tail":
            wait_until(lambda: self._ask() and terminal.shows(_READY[kind]))
        terminal.read_until(_READY[kind])
        if kind == "run":
            self._learn(terminal)
        if kind == "uvicorn" and said:
            there = terminal.read_until(r"running on http://(127\.0\.0\.1:\d+)")[1]
            self.stand_ins[f"127.0.0.1:{said[1]}"] = there
        for line in shown:
            if request := _REQUEST.search(line):
                httpx.request(request[1], f"{self.url}{request[2]}")
            terminal.read_until(shape(line))
        return terminal.text

    def serve(self, file: str) -> None:
        """Has the gateway of a file running."""
        if self._with != file:
            self.start(f"pylae run {file}")
            self._with = file

    def end_runs(self) -> None:
        """A gateway ends before another one of the page begins."""
        self._with = ""
        self._end(self._runs)

    def _end(self, terminals: list[Terminal]) -> None:
        """Ends them by Ctrl-C, as a person would; they must end well."""
        while terminals:
            terminal = terminals.pop()
            try:
                terminal.type("\x03")
                code = terminal.wait()
                if code not in (0, 130):
                    raise WrongBlockError(f"ended with {code}: {terminal.text}")
            finally:
                terminal.stop()

    def _learn(self, terminal: Terminal) -> None:
        """Where a gateway listens that has just said so."""
        self.stand_ins[LISTENER] = terminal.read_until(r"listening on \w+://(127\.0\.0\.1:\d+)")[1]
        if found := re.search(r"admin API on (127\.0\.0\.1:\d+)", terminal.text):
            self.stand_ins[ADMIN] = found[1]
        for token in self.home.glob(".local/state/pylae/*/admin-token"):
            self.env["AUTH"] = f"Authorization: Bearer {token.read_text().strip()}"

    def _ask(self) -> bool:
        """Makes requests, of which some fail, for those who watch."""
        for route in Gateway.from_file(self.directory / "pylae.yaml").config.routes:
            httpx.get(f"{self.url}{route.prefix}")
        return True

    def _free_ports(self) -> None:
        """Gives what the directory configures free ports, and instances that answer."""
        for file in (*self.directory.glob("*.yaml"), *self.directory.glob("*.py")):
            text = file.read_text(encoding="utf-8")
            changed = self.instances(text.replace(LISTENER, "127.0.0.1:0").replace(ADMIN, "127.0.0.1:0"))
            if file.suffix == ".yaml" and "listeners:" not in changed:
                changed = f'listeners: ["127.0.0.1:0"]\n{changed}'
            if changed != text:
                file.write_text(changed, encoding="utf-8")

    def instances(self, text: str) -> str:
        """A text with instances that answer in the place of those that it names."""
        return _INSTANCE.sub(lambda found: self._instance(found[0]), text)

    def _instance(self, address: str) -> str:
        if address in self.stand_ins.values():
            return address
        if address not in self.stand_ins:
            self._fakes.append(FakeService({"id": 7}))
            self.stand_ins[address] = self._fakes[-1].url.removeprefix("http://")
        return self.stand_ins[address]

    def translated(self, command: str) -> str:
        """A command of a page with the addresses and the revision that there are."""
        command = self.instances(command)
        for said, there in self.stand_ins.items():
            command = command.replace(said, there)
        return _REVISION.sub(lambda found: self.revision or found[0], command)

    def setenv(self, name: str, value: str) -> None:
        """Sets a variable for the commands to come."""
        self.env[name] = value

    def stop(self) -> None:
        """Ends what is running."""
        try:
            self._end(self._others)
            self._end(self._runs)
        finally:
            for terminal in (*self._others, *self._runs):
                terminal.stop()
            for fake in self._fakes:
                fake.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def shape(line: str) -> str:
    """A pattern for what a line shows: numbers, addresses and names of folders differ from one machine to the next."""
    words = (r"\S+" if re.search(r"\d|^[/~]|…", word) else re.escape(word) for word in line.split())
    return r"(?m)^\s*" + r"\s+".join(words) + r"\s*$"
