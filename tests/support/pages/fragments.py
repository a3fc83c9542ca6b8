"""Fragments, put into the smallest thing that has them."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import click

from pylae.cli import main
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.config.models.service import Service
from support.pages.blocks import ROOT, Block, WrongBlockError, commands
from support.programs import program

_RUN = {"$EDITOR", "cat", "cd", "curl", "eval", "jq", "pylae", "python", "sed", "tr", "uvicorn"}
"""Programs that a walk runs: none that would change anything outside of its folder, or ask anybody elsewhere."""
_ABSENT = {"curl", "jq"}
"""Those of them that a machine may lack."""
_ELSEWHERE = re.compile(r"https?://(?!127\.0\.0\.1\b|localhost\b|10\.0\.)[^\s'\"]+")
"""Addresses that are not this machine's; services in 10.0.0.0/16 are, in the sandbox."""
_SEPARATORS = {"|", "||", "&&", ";", "&"}
_ASSIGNMENT = re.compile(r"\w+=")
_TARGETS = re.compile(r"^([a-z-]+):", re.MULTILINE)


def completed(given: Any) -> dict[str, Any]:
    """A part of a configuration with what the rest of its page is about: services, and who vouches for users.

    It may be keys of a configuration, a list of routes, keys of a route or of a service, or what a file of instances
    has.
    """
    if isinstance(given, list):
        given = {"routes": given}
    if isinstance(given, dict) and not given.keys() & Config.model_fields.keys():
        if given.keys() <= Service.model_fields.keys():
            given = {"services": {"one": given}}
        elif given.keys() <= Route.model_fields.keys():
            given = {"routes": [{"prefix": "/", "service": "one", **given}]}
        else:
            given = {"services": {name: {"instances": each or ["http://a"]} for name, each in given.items()}}
    store = given.get("store")
    if "://" in str(store.get("url") if isinstance(store, dict) else store):
        # The file of a node of a fleet has nothing else.
        return dict(given)
    routes = given.get("routes", ())
    auth = {"auth": {"jwt": {"secret": "x" * 40}}} if routes else {}
    services = {route["service"]: {"instances": ["http://127.0.0.1:9001"]} for route in routes if "service" in route}
    hooks = given.get("hooks", ())
    hooks = hooks["use"] if isinstance(hooks, dict) else hooks
    named = {name for entry in (*hooks, *given.get("plugins", ())) if (name := entry.get("routes"))}
    more = [{"name": name, "path": f"/{name}", "static_response": "", "auth_required": False} for name in sorted(named)]
    return {**auth, **given, "services": {**services, **given.get("services", {})}, "routes": [*routes, *more]}


def check_commands(block: Block) -> None:
    """That a shell reads them, and that every verb and option of `pylae`, and every target of make, is there."""
    for command in commands(block):
        read = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True, check=False)
        if read.returncode != 0:
            raise WrongBlockError(f"{block.where}: {read.stderr}")
        for words in _simple(command.text):
            if words[0] == "pylae":
                _check_pylae(block, words[1:])
            elif words[0] == "make":
                known = set(_TARGETS.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
                if missing := {word for word in words[1:] if "=" not in word} - known:
                    raise WrongBlockError(f"{block.where}: the Makefile has no target {', '.join(missing)}")


def check_harmless(block: Block) -> None:
    """That commands of a page may be run by a test: not as root, by programs that are known, on this machine."""
    advice = "and a test does not run that: mark the block with <!-- fragment -->"
    if any(line.startswith("# ") for line in block.text.splitlines()):
        raise WrongBlockError(f"{block.where}: has root's prompt, {advice}")
    for command in commands(block):
        if strange := {words[0] for words in _simple(command.text)} - _RUN:
            raise WrongBlockError(f"{block.where}: calls {', '.join(sorted(strange))}, {advice}")
        for name in {words[0] for words in _simple(command.text)} & _ABSENT:
            program(name)
        if "curl" in command.text and (address := _ELSEWHERE.search(command.text)):
            raise WrongBlockError(f"{block.where}: asks {address[0]}, {advice}")


def _simple(text: str) -> list[list[str]]:
    """The simple commands of a line, also those in `$(…)`, without what is set for them in the environment."""
    inner = re.findall(r"\$\(([^()]*)\)", text)
    found: list[list[str]] = [[]]
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "x", text), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if word in _SEPARATORS:
            found.append([])
        elif found[-1] or not _ASSIGNMENT.match(word):
            found[-1].append(word)
    return [*(words for words in found if words), *(words for each in inner for words in _simple(each))]


def _check_pylae(block: Block, words: list[str]) -> None:
    context = click.Context(main, info_name="pylae")
    command: click.Command = main
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            if found is None:
                raise WrongBlockError(f"{block.where}: `{context.command_path}` has no verb `{word}`")
            command, context = found, click.Context(found, parent=context, info_name=word)
        elif word.startswith("-") and word != "-":
            name = word.partition("=")[0]
            known = {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}
            if name not in known:
                raise WrongBlockError(f"{block.where}: `{context.command_path}` has no option `{name}`")
