"""Starting, measuring and ending processes. Only processes started here, and their descendants, are ever ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchError(Exception):
    """Something that ends the run, or one peer's part in it; the text is for the person at the terminal."""


@dataclass(frozen=True)
class Usage:
    """CPU time of a process tree since its start, in seconds.

    `total` is exact; `user` and `system` come from the kernel's 10 ms ticks and only tell how it is divided.
    """

    total: float
    user: float
    system: float


class Process:
    """A child process, usually on one core, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        core: int | None,
        log: Path,
        *,
        pipes: bool = False,
        output: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts `command` on `core`, or on all.

        Standard error goes to `log`, or to the descriptor `output`; so does standard output, unless `pipes` connects it
        and standard input to us. `env` is added to the environment.

        Raises:
            BenchError: the program can't be started.
        """
        self.log = log
        self._identities: dict[int, str] = {}
        words = [str(word) for word in command]
        own = os.sched_getaffinity(0)
        # The child inherits the core; setting it in the child would mean Python code between fork and exec.
        os.sched_setaffinity(0, own if core is None else {core})
        try:
            with log.open("wb") as opened:
                sink = opened.fileno() if output is None else output
                # A session of its own keeps Ctrl-C for us, who then end the children in order.
                self._child = subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if pipes else sink,
                    stderr=sink,
                    start_new_session=True,
                    env={**os.environ, **(env or {})},
                )
        except OSError as error:
            raise BenchError(f"cannot start {words[0]}: {error}") from error
        finally:
            os.sched_setaffinity(0, own)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._child.pid

    def send(self, number: signal.Signals) -> None:
        """Sends the process itself a signal, unless it has ended."""
        self._child.send_signal(number)

    @property
    def running(self) -> bool:
        """Whether the process itself still runs."""
        return self._child.poll() is None

    def tail(self) -> str:
        """The end of what the process wrote to its log."""
        return self.log.read_text(errors="replace")[-600:].strip()

    def read_line(self, timeout: float) -> str:
        """The next line of standard output, waited for at most `timeout` seconds.

        Raises:
            BenchError: the process ended, or was silent for too long.
        """
        if self._child.stdout is None:
            raise ValueError("the process was started without pipes")
        handle = self._child.stdout.fileno()
        line = bytearray()
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise BenchError(f"no answer within {timeout:.0f} s from {self._child.args!r}")
                byte = os.read(handle, 1)
                if not byte:
                    self._child.wait(timeout=5)
                    raise BenchError(self.tail() or f"{self._child.args!r} ended without a word")
                line += byte
        return line.decode().strip()

    def write_line(self) -> None:
        """Sends an empty line to standard input."""
        if self._child.stdin is None:
            raise ValueError("the process was started without pipes")
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()

    def tree(self) -> list[int]:
        """The process and its descendants, by number."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            fields = _stat(int(entry.name)) if entry.name.isdigit() else None
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self._child.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        for pid in found:
            self._identities.setdefault(pid, _identity(pid))
        return found

    def usage(self) -> tuple[list[int], Usage]:
        """The tree, and the CPU time that it has used.

        Raises:
            BenchError: a process of the tree has just ended, so that its time is lost.
        """
        pids = self.tree()
        ticks = os.sysconf("SC_CLK_TCK")
        total = user = system = 0.0
        for pid in pids:
            fields = _stat(pid)
            try:
                # The clock of another process's CPU time, as clock_getcpuclockid(3) makes it on Linux.
                total += time.clock_gettime((~pid << 3) | 2)
            except OSError:
                fields = None
            if fields is None:
                raise BenchError(f"process {pid} ended while it was measured; {self.tail()}")
            user += int(fields[11]) / ticks
            system += int(fields[12]) / ticks
        return pids, Usage(total, user, system)

    def resident(self) -> int:
        """Resident memory of the tree in bytes (pages shared between its processes count in each)."""
        pages = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self, patience: float = 3) -> None:
        """Ends the process, at once without `patience`, then whatever of its tree is left."""
        if self.running:
            self.tree()
            if patience:
                self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=patience)
        for pid, identity in self._identities.items():
            if identity and _identity(pid) == identity:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Ends `process` when the block is left, however it is left."""
    try:
        yield process
    finally:
        process.end()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; none if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _identity(pid: int) -> str:
    """The start time, which tells a process from a later one with the same number; empty if it is gone or dead."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""
