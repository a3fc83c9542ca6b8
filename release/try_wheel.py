"""Tries a wheel as a stranger does: in an empty environment, from pip to requests through the gateway.

    python release/try_wheel.py dist/pylae-….whl [--tests [ARGUMENTS OF PYTEST]]

The environment is made with the interpreter that runs this. With `--tests`, the Python tests run too. They see the
installed package and copies of the files that they read, but not `python/`, so they cannot import the sources.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 120
"""Seconds after which a command that has said nothing has failed."""
BESIDE = (
    "tests",
    "examples",
    "docs",
    "deploy",
    "chaos",
    "bench",
    "conformance",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
)
"""What tests read or import beside the package."""
ABOUT_THE_TREE = {
    "tests/contract/test_authenticators.py": "reads a table in a source of Rust",
    "tests/contract/test_balancers.py": "looks for files in a folder of Rust",
    "tests/contract/test_fields.py": "compares sources with what python/fields.py makes of them",
    "tests/contract/test_hpack.py": "builds an example of the crates",
    "tests/contract/test_release.py": "reads release/ and the lock of the crates",
    "tests/contract/test_log_areas.py": "reads sources, also of Rust",
    "tests/contract/test_login_reasons.py": "reads sources, also of Rust",
    "tests/contract/test_masks.py": "reads a table in a source of Rust",
    "tests/contract/test_rfc9111.py": "looks for tests in sources of Rust",
    "tests/contract/test_store_rights.py": "looks for commands in scripts among the sources",
    "tests/contract/test_structure.py": "keeps the shape of the sources",
    "tests/unit/registry/test_registrations.py": "runs a script among the sources",
    "tests/unit/registry/test_scripts.py": "runs scripts among the sources",
}
"""Tests that look at the sources, not at what they make, and what they look at."""


class TryError(Exception):
    """The wheel does not do what it should."""


class Environment:
    """A virtual environment, and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=True)
        self.bin = folder / "venv" / "bin"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "PYLAE"))}
        self.env = {**kept, "PATH": f"{self.bin}:{os.environ['PATH']}", "XDG_STATE_HOME": str(folder / "state")}

    def run(self, *words: str) -> str:
        """Runs a command that ends, and must succeed; gives what it says."""
        done = subprocess.run(
            words,
            cwd=self.work,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise TryError(f"`{' '.join(words)}` failed with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def pip(self, *words: str) -> None:
        """Installs something."""
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)

    @contextlib.contextmanager
    def running(self, *words: str, until: str) -> Iterator[str]:
        """Runs a command that does not end by itself, and gives what it has said until a pattern is in it.

        At the end it is interrupted, as by Ctrl-C, and must end well.
        """
        file = self.work / f"{words[1]}.log"
        with file.open("w") as log:
            process = subprocess.Popen(words, cwd=self.work, env=self.env, stdout=log, stderr=log)
        try:
            end = time.monotonic() + PATIENCE
            while not re.search(until, said := file.read_text()):
                if process.poll() is not None or time.monotonic() > end:
                    raise TryError(f"`{' '.join(words)}` did not say {until!r} but:\n{said}")
                time.sleep(0.02)
            yield said
            process.send_signal(signal.SIGINT)
            if (code := process.wait(PATIENCE)) not in (0, 130):
                raise TryError(f"`{' '.join(words)}` ended with {code}:\n{file.read_text()}")
        finally:
            process.kill()
            process.wait()


class Service(BaseHTTPRequestHandler):
    """What stands behind the gateway."""

    def do_GET(self) -> None:
        """Answers with the path that it was asked for."""
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Prints nothing."""


@contextlib.contextmanager
def service() -> Iterator[str]:
    """A service on a free port; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def readme(first: str, second: str) -> str:
    """The configuration of the README, with a free port and instances that answer."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(# pylae\.yaml\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if block is None:
        raise TryError("the README has no pylae.yaml")
    free = block[1].replace("127.0.0.1:8080", "127.0.0.1:0")
    return free.replace("127.0.0.1:9001", first).replace("127.0.0.1:9002", second)


def first_request(environment: Environment, wheel: Path) -> None:
    """From pip to the first answer through the gateway of the README."""
    with service() as first, service() as second:
        (environment.work / "pylae.yaml").write_text(readme(first, second), encoding="utf-8")
        began = time.monotonic()
        environment.pip(str(wheel))
        installed = time.monotonic()
        with environment.running("pylae", "run", until=r"listening on \S+(?s:.*)serving") as said:
            (url,) = re.findall(r"listening on (http://\S+)", said)
            with urllib.request.urlopen(f"{url}/api/users/42", timeout=PATIENCE) as answer:
                got = answer.read()
            ended = time.monotonic()
    if got != b"/api/users/42":
        raise TryError(f"the service got {got!r}")
    print(f"from `pip install` to the first request: {ended - began:.1f} s ({installed - began:.1f} s of it pip's)")


def commands(environment: Environment) -> None:
    """The commands of the README, and those that a stranger tries."""
    for line in (
        "pylae --version",
        "pylae check",
        "pylae explain GET /api/users/42",
        "pylae new gateway shop",
        "pylae check shop/pylae.yaml",
        "pylae doctor",
    ):
        environment.run(*line.split())
        print(f"{line}: well")


def stops(environment: Environment) -> None:
    """A gateway ends well, each of twenty times: what its threads do just then differs from one time to the next."""
    environment.env["PYLAE_ADMIN"] = "off"
    for _ in range(20):
        with environment.running("pylae", "run", until=r"listening on \S+(?s:.*)serving") as said:
            (url,) = re.findall(r"listening on (http://\S+)", said)
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/api/users/42", timeout=PATIENCE)
    del environment.env["PYLAE_ADMIN"]
    print("pylae run: ends well, twenty times")


def demo(environment: Environment) -> None:
    """`pylae demo`, and each of the commands that it says to paste."""
    with environment.running("pylae", "demo", "--port", "0", until=r"Ctrl-C stops everything") as said:
        exports = "".join(re.findall(r"^export .*\n", said, re.MULTILINE))
        pasted = re.findall(r"^  \d\. .*\n +(.*)$", said, re.MULTILINE)
        if len(pasted) != 6:
            raise TryError(f"the demo has {len(pasted)} commands, not six:\n{said}")
        for command in pasted:
            environment.run("bash", "-ec", f"{exports}{command}")
    print("pylae demo: well, and its six commands")


def tests(environment: Environment, wheel: Path, arguments: list[str]) -> int:
    """The tests of Python against what was installed; gives pytest's exit code."""
    environment.pip("--require-hashes", "--requirement", str(ROOT / "requirements-dev.lock"))
    environment.pip("--no-deps", str(wheel))
    for name in BESIDE:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, environment.work / name, ignore=shutil.ignore_patterns("__pycache__", "target")
            )
        else:
            shutil.copy(ROOT / name, environment.work / name)
    where = environment.run("python", "-c", "import pylae; print(pylae.__file__)").strip()
    if not Path(where).is_relative_to(environment.bin.parent):
        raise TryError(f"pylae is imported from {where}")
    ignored = [f"--ignore={file}" for file in ABOUT_THE_TREE]
    words = ["python", "-m", "pytest", *ignored, *arguments]
    return subprocess.run(words, cwd=environment.work, env=environment.env, check=False).returncode


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--tests", nargs=argparse.REMAINDER, metavar="...", help="run pytest too, with what follows")
    options = parser.parse_args()
    wheel = options.wheel.resolve()
    with tempfile.TemporaryDirectory(prefix="pylae-wheel-") as name:
        try:
            environment = Environment(Path(name) / "empty")
            first_request(environment, wheel)
            commands(environment)
            stops(environment)
            demo(environment)
            return 0 if options.tests is None else tests(Environment(Path(name) / "tests"), wheel, options.tests)
        except TryError as error:
            print(f"{wheel.name}: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
