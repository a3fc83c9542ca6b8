"""What every verb has in common."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import Result

from pylae.cli import VERBS, main, report
from pylae.errors import ConfigError, EngineError, Problem


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pylae", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_shows_verbs_and_exit_codes(pylae) -> None:
    result: Result = pylae("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.output
    for code in ("0", "1", "2", "3", "70", "130"):
        assert f"\n    {code}  " in result.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(pylae, verb: str) -> None:
    result: Result = pylae(verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: pylae {verb}" in result.output
    assert len(result.output.splitlines()) > 5


def test_help_does_not_load_what_it_does_not_need() -> None:
    program = """
import sys
from pylae.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"pydantic", "yaml", "asyncio", "pylae._native", "pylae.gateway"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(pylae) -> None:
    result: Result = pylae("--version")
    assert result.exit_code == 0
    assert result.output.startswith("pylae ")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("chekc", "did you mean 'check'?"),
        ("route", "did you mean 'routes'?"),
        ("zzz", "the commands are admin, apply, check,"),
    ],
)
def test_an_unknown_verb_names_the_nearest(pylae, typed: str, answer: str) -> None:
    result: Result = pylae(typed)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"pylae: there is no command {typed!r}: {answer}")
    assert result.stderr.endswith("  hint: pylae --help\n")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["drain", "users"], "Missing argument 'INSTANCE'.", "pylae drain --help"),
        (["explain", "GET"], "Missing argument 'METHOD URL'.", "pylae explain --help"),
        (["explain", "f", "GET", "/", "/"], "Got unexpected extra argument (/)", "pylae explain --help"),
        (["check", "--colour", "f"], "No such option", "pylae check --help"),
        (["--colour"], "No such option", "pylae --help"),
        (
            ["explain", "f", "GET", "users"],
            "URL must begin with /, http:// or https://, not 'users'",
            "pylae explain --help",
        ),
        (
            ["explain", "f", "GET", "/", "-H", "x"],
            "a field must be written as 'Name: value', not 'x'",
            "pylae explain --help",
        ),
        (["explain", "f", "GET", "/", "--client", "me"], "'me' is not an IP address", "pylae explain --help"),
    ],
)
def test_wrong_calls(pylae, arguments: list[str], message: str, hint: str) -> None:
    result: Result = pylae(*arguments)
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith(f"pylae: {message}")
    assert second == f"  hint: {hint}"


def test_exit_codes_of_a_process() -> None:
    assert run("--version").returncode == 0
    assert run("check", "nowhere.yaml").returncode == 1
    assert run("chekc").returncode == 2


def test_output_that_nobody_reads_is_no_failure() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "pylae", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    assert command.stderr.read() == ""
    command.stderr.close()
    assert command.wait(60) == 0


def test_no_arguments_show_help(pylae) -> None:
    result: Result = pylae()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == pylae("--help").stdout


FAILURES = [
    (EngineError("127.0.0.1:80 is in use"), 3, "pylae: 127.0.0.1:80 is in use\n"),
    (report.Failure("no", "do this"), 3, "pylae: no\n  hint: do this\n"),
    (PermissionError(13, "Permission denied", "/x"), 3, "pylae: /x: Permission denied\n"),
    (
        ConfigError([Problem("a.yaml", 2, 5, "routes[0]", "is odd", "say more")]),
        1,
        "a.yaml:2:5: routes[0]: is odd\n  hint: say more\n",
    ),
    (ConfigError([Problem(None, None, None, "", "is odd")]), 1, "is odd\n"),
    (click.Abort(), 130, ""),
]


@pytest.mark.parametrize(("error", "code", "said"), FAILURES, ids=lambda value: getattr(type(value), "__name__", None))
def test_failures_are_a_line_a_hint_and_a_code(
    pylae, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    fail_with(error, monkeypatch)
    result: Result = pylae("schema")
    assert (result.exit_code, result.stderr) == (code, said)


def test_a_fault_shows_its_traceback_only_on_request(pylae, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyError("x"), monkeypatch)
    result: Result = pylae("schema")
    assert result.exit_code == 70
    assert result.stderr.startswith("pylae: internal error of Pylae: KeyError: 'x'\n  hint: please report it")
    monkeypatch.setenv("PYLAE_DEBUG", "1")
    assert "Traceback" in pylae("schema").stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours(pylae, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    result: Result = pylae("chekc", color=True)
    assert ("\x1b[" in result.stderr) is coloured
    assert "\x1b[" not in pylae("chekc").stderr


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the verb `schema` raise."""
    command = main.get_command(click.Context(main), "schema")
    assert command is not None

    def fail() -> None:
        raise error

    monkeypatch.setattr(command, "callback", fail)
