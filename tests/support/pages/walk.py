"""A walk over one page: its blocks in their order, each run or checked as the fragment that it is."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pylae import Gateway
from pylae.config.pages import parse
from pylae.testing import FakeService, RunningGateway
from support.pages.blocks import HOW, Block, WrongBlockError, blocks, commands
from support.pages.fragments import check_commands, check_harmless, completed
from support.pages.sandbox import Sandbox
from support.pages.surroundings import GIVEN, lay_out, provide

_RUN = "gateway.run()"


class Walk:
    """A page, and the folder in which its blocks run."""

    def __init__(self, page: Path, sandbox: Sandbox) -> None:
        self.page = page
        self.sandbox = sandbox
        self.folder = sandbox.folder
        self.tests: list[str] = []
        """Files of pytest that blocks have written."""
        self.by_language: dict[str, Callable[[Block], None]] = {
            "yaml": self.configuration,
            "python": self.program,
            "console": self.console,
            "sh": self.console,
            "bash": self.console,
            "json": _json,
            "html": lambda block: _ignore(parse(block.text, "html")),
            "toml": lambda block: _ignore(tomllib.loads(block.text)),
            "ini": lambda block: configparser.ConfigParser().read_string(block.text),
            "http": _ignore,
            "text": _ignore,
            "": _ignore,
        }

    def run(self) -> None:
        """Runs all blocks; what fails says where its block is."""
        lay_out(self.page, self.folder)
        found = blocks(self.page)
        for block in found:
            if block.file:
                self.write(block.file, block.text)
        with self.importing():
            for block in found:
                try:
                    self.step(block)
                except Exception as error:
                    error.add_note(f"{block.where}: this block ({block.language or 'no language'})")
                    raise
            self.run_tests()

    def step(self, block: Block) -> None:
        """One block."""
        if "foreign" in block.marks:
            if block.language == "yaml":
                yaml.safe_load(block.text)
            return
        handle = self.by_language.get(block.language)
        if handle is None:
            raise WrongBlockError(f"{block.where}: nobody knows how to run or check {block.language}")
        handle(block)

    def write(self, name: str, text: str) -> Path:
        """A file of the page."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def configuration(self, block: Block) -> None:
        """A whole one is valid as it stands and without a warning, a fragment in the smallest one that has it."""
        provide(block.text, self.folder, self.setenv)
        given = yaml.safe_load(block.text)
        if block.fragment:
            Gateway.from_file(self.write("fragment.yaml", yaml.safe_dump(completed(given)))).check()
            return
        if not isinstance(given, dict) or not given.keys() & {"services", "include"}:
            raise WrongBlockError(f"{block.where}: is no whole configuration, and has no mark. {HOW}")
        file = self.write(block.file or "pylae.yaml", block.text)
        warnings = Gateway.from_file(file).check()
        if warnings:
            raise WrongBlockError(f"{block.where}: {warnings[0]}")

    def setenv(self, name: str, value: str) -> None:
        """A variable, for configurations of this process and for commands."""
        os.environ[name] = value
        self.sandbox.setenv(name, value)

    def program(self, block: Block) -> None:
        """A test is kept for pytest; a gateway answers a request; anything else runs to its end."""
        file = self.write(block.file or f"{self.page.stem.lower()}_{block.line}.py", program_of(block))
        text = file.read_text(encoding="utf-8")
        if "def test_" in text:
            self.tests.append(self.write(f"test_{file.stem.removeprefix('test_')}.py", text).name)
        elif _RUN in text:
            if problems := Gateway.from_file(file).check():
                raise WrongBlockError(f"{block.where}: {problems[0]}")
            answers(file)
        else:
            try:
                made = runpy.run_path(str(file))
            except NameError as error:
                raise WrongBlockError(f"{block.where}: {error}; it does not stand alone. {HOW}") from error
            for each in made.values():
                if isinstance(each, FakeService | RunningGateway):
                    each.stop()

    def console(self, block: Block) -> None:
        """Commands succeed and say what is shown; of a fragment verbs and options are there."""
        check_commands(block)
        if block.fragment:
            return
        check_harmless(block)
        if "gateway" in block.marks:
            self.sandbox.serve(block.marks["gateway"])
        for command in commands(block):
            self.sandbox.run(command.text, command.output, block.where)

    def run_tests(self) -> None:
        """All tests of the page, at once."""
        if not self.tests:
            return
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *self.tests],
            cwd=self.folder,
            env=self.sandbox.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise WrongBlockError(f"tests of {self.page.name} (their names have the lines): {done.stdout}{done.stderr}")

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Modules of the page can be imported, paths are relative to its folder, and nothing of it is left behind."""
        before, known, path, environment = Path.cwd(), set(sys.modules), list(sys.path), dict(os.environ)
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(environment)
            for name in set(sys.modules) - known:
                if str(getattr(sys.modules[name], "__file__", None)).startswith(str(self.folder)):
                    del sys.modules[name]


def _json(block: Block) -> None:
    """A document, or an error page."""
    if "{{" in block.text:
        parse(block.text, "json")
    else:
        json.loads(block.text)


def _ignore(_: object) -> None:
    """What is only to be read."""


def program_of(block: Block) -> str:
    """A block of Python with what it needs before it: the programs that it continues, and what its page takes for
    granted."""
    text = block.text
    if "continues" in block.marks:
        before = [each for each in blocks(block.page) if each.language == "python" and each.line < block.line]
        if not before:
            raise WrongBlockError(f"{block.where}: there is no program before it that it could continue")
        earlier = program_of(before[-1])
        # What runs at the end of the first part runs at the end of both.
        ends = earlier.rstrip().endswith(_RUN)
        text = f"{earlier.rstrip().removesuffix(_RUN) if ends else earlier}\n{text}{_RUN if ends else ''}\n"
    prelude = GIVEN / block.page.stem / "prelude.py"
    if block.fragment and prelude.is_file():
        text = f"{prelude.read_text(encoding='utf-8')}\n{text}"
    return text


def answers(file: Path) -> None:
    """Runs the gateway of a program in front of services that answer, and asks it something."""
    config = Gateway.from_file(file).config
    names = {*config.services, *(name for route in config.routes for name in route.targets)}
    apps = {name for name, service in config.services.items() if service.app is not None}
    with FakeService() as fake, RunningGateway(file, dict.fromkeys(names - apps, fake)) as gateway:
        paths = [str(route.path or route.prefix or "/") for route in config.routes]
        user = "1" if config.auth and config.auth.jwt else None
        statuses: list[Any] = [gateway.get(path, user=user).status for path in paths]
        if not statuses or max(statuses) > 500:
            raise WrongBlockError(f"{file.name} answers {statuses}")
