"""What the bench must know about a gateway: where it is, how it is configured for a scenario, how it is started."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.processes import BenchError
from bench.scenarios import Scenario


@dataclass(frozen=True)
class Setup:
    """One start of one gateway."""

    scenario: Scenario
    port: int
    """Where the gateway listens on 127.0.0.1."""
    origin: int
    """Where the origin listens on 127.0.0.1."""
    folder: Path
    """For the configuration; deleted after the run."""


class Peer(ABC):
    """A gateway with one worker, tuned as its own experts would for keep-alive proxying and without logs."""

    features: ClassVar[frozenset[str]] = frozenset()
    """The scenario features for which `command` writes a configuration."""

    def __init__(self, name: str, program: Path) -> None:
        """`name` is the peer's in the report, `program` what `find` gives or the user named."""
        self.name = name
        self.program = program

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """The program.

        Raises:
            BenchError: it is not installed; the text names the package.
        """

    @abstractmethod
    def command(self, setup: Setup) -> list[str | Path]:
        """Writes the configuration into `setup.folder`; gives the command that runs the gateway in the foreground."""

    def version(self) -> str:
        """The version for the report."""
        return first_version([str(self.program), "--version"])

    def supports(self, scenario: Scenario) -> bool:
        """Whether the scenario can be asked of this gateway."""
        return scenario.features <= self.features


def first_version(command: list[str]) -> str:
    """The first thing like a version number in the output of `command`.

    Raises:
        BenchError: the command can't be run.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"cannot run {command[0]}: {error}") from error
    # The path of the program may hold a version of something else.
    found = re.search(r"\d+\.\d+(\.\d+)?", (done.stdout + done.stderr).replace(command[0], ""))
    return found.group() if found else "unknown"
