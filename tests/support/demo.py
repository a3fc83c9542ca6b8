"""`pylae demo` as a process, and what a person does with it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE = 60
"""Seconds."""
#: The last line of what a demo says before its log.
READY = "Ctrl-C stops everything"


@dataclass
class Demo:
    """A running demo, and all that it has printed."""

    process: subprocess.Popen[str]
    lines: queue.SimpleQueue[str | None]
    printed: list[str] = field(default_factory=list)

    def read_until(self, words: str) -> str:
        """Waits for a line that contains the words."""
        while True:
            line = self.lines.get(timeout=DEADLINE)
            assert line is not None, "the demo ended after: " + "".join(self.printed)
            self.printed.append(line)
            if words in line:
                return line

    @property
    def commands(self) -> list[str]:
        """The commands to try, as printed."""
        lines = "".join(self.printed).splitlines()
        return [lines[number + 1].strip() for number, line in enumerate(lines) if re.match(r"  [1-9]\. ", line)]

    @property
    def exports(self) -> str:
        """The two lines that a shell needs first."""
        lines = [line for line in self.printed if line.startswith("export ")]
        assert [line.partition("=")[0] for line in lines] == ["export TOKEN", "export ADMIN"]
        return "".join(lines)

    def paste(self, command: str) -> str:
        """Runs a command in a shell that knows the tokens, as a person would in another terminal; it must succeed."""
        return paste(self.exports + command)

    @property
    def gateway(self) -> str:
        """Where the gateway answers."""
        return next(line.split()[-1] for line in self.printed if line.startswith("The gateway: "))

    @property
    def configuration(self) -> Path:
        """The file that the gateway runs."""
        return next(
            Path(line.strip()) for line in self.printed if line.strip().endswith("pylae.yaml") and line[2] == "/"
        )

    def family(self) -> list[int]:
        """The demo and every process that it has started."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
        return [self.process.pid, *map(int, children)]


@contextlib.contextmanager
def running_demo(*options: str, env: Mapping[str, str] | None = None) -> Iterator[Demo]:
    """Starts a demo in a session of its own, without the dashboard unless that is asked for; what the test leaves of it
    is killed.
    """
    if "--dashboard" not in options:
        options = ("--no-dashboard", *options)
    process = subprocess.Popen(
        [sys.executable, "-m", "pylae", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    output = process.stdout
    assert output is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    demo = Demo(process, lines)
    try:
        demo.read_until(READY)
        yield demo
    finally:
        process.kill()
        process.wait()
        reader.join()
        output.close()


def paste(command: str) -> str:
    """Runs a command in a shell, as a person would in another terminal; it must succeed."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def split(answer: str) -> tuple[int, str, str]:
    """Status, head and body of what `curl -i` prints."""
    head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    return int(head.split()[1]), head.lower(), body


def wait_until_ended(descriptors: list[int]) -> None:
    """Waits for the processes behind descriptors of `pidfd_open`, which become readable when they end."""
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], DEADLINE)[0], "a process outlives the demo"
        os.close(descriptor)
