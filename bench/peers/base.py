"""What the bench must know about a gateway: where it is, how it is configured for a scenario, how it is started."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from bench.processes import BenchError
from bench.scenarios import Scenario


@dataclass(frozen=True)
class Certificate:
    """Files in PEM: a certificate for `bench.test` that signed itself, its key, and both in one."""

    cert: Path
    key: Path
    both: Path


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
    identity: int = 0
    """Where the server of `bench/identity.py` listens on 127.0.0.1."""
    admin: int = 0
    """Where Pylae's admin API listens on 127.0.0.1; 0 is a port that nobody asks."""
    store: Mapping[str, str] = field(default_factory=dict)
    """Where the store of a cluster is, and its password."""

    @property
    def tls(self) -> bool:
        """Whether clients speak TLS."""
        return "tls" in self.scenario.features

    @cached_property
    def certificate(self) -> Certificate:
        """What the gateway shows: P-256, which every peer signs fastest with.

        Raises:
            BenchError: there is no openssl to make it.
        """
        made = Certificate(self.folder / "tls.pem", self.folder / "tls.key", self.folder / "tls.both")
        words = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        words += ["-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test"]
        words += ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(made.key), "-out", str(made.cert)]
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BenchError(f"cannot make a certificate with openssl: {error}") from error
        made.both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
        return made


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
