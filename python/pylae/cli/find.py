"""Finds the running gateway that a verb means: by the directory, a configuration, a state folder or an address."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pylae.cli.remote import TOKEN, Remote
from pylae.cli.report import Failure
from pylae.cli.run import DEFAULTS
from pylae.errors import ConfigError, PylaeError

if TYPE_CHECKING:
    from pylae.config.models.admin import Admin

ADDRESS = "PYLAE_ADMIN"
_PATIENCE = 5.0
_STATE = re.compile(r"^state:.*$", re.MULTILINE)


def find(config: str | None, folder: str | None, admin: str | None, token_file: str | None) -> Remote:
    """The gateway that is meant. Raises Failure, or ConfigError for a token that others can read."""
    if folder is not None:
        if not _answers(Path(folder)):
            raise Failure(f"no gateway has the state folder {folder}", _elsewhere("is it running?"))
        return Remote.local(Path(folder))
    token = Path(token_file).read_text(encoding="ascii").strip() if token_file else os.environ.get(TOKEN)
    given = os.environ.get(ADDRESS, "").strip()
    admin = admin or (given if given.lower() not in ("", "off", "false", "0") else None)
    if admin and token:
        return Remote(admin, token)
    if admin:
        return _at_address(admin, config)
    return _of_file(config, token) if config else _of_directory(token)


def _of_file(file: str, token: str | None) -> Remote:
    found = _local(file, Path(file)) or _configured(file, token)
    if found is None:
        raise Failure(f"no gateway of {file} runs", _elsewhere(f"start it: pylae run {file}"))
    return found


def _of_directory(token: str | None) -> Remote:
    from pylae.state import running

    for name in DEFAULTS:
        if found := _local(name, Path(name)):
            return found
    listed = running.found()
    here = [one for one in listed if any(origin.parent == Path.cwd().resolve() for origin in one.origins)]
    if found := _only("this directory", [one.folder for one in here]):
        return found
    if file := next((name for name in DEFAULTS if Path(name).exists()), None):
        return _of_file(file, token)
    hint = f"name its configuration with -c FILE, its state folder with --state, or give --admin and {TOKEN}"
    if listed:
        hint += "; there run " + ", ".join(str(one.origins[0]) for one in listed)
    raise Failure("which gateway is meant?", hint)


def _local(name: str, file: Path) -> Remote | None:
    """The gateway that runs with this configuration, whatever the file holds by now and whether it is there."""
    from pylae import state
    from pylae.state import running

    said = [state.folder_of(file, setting) for setting in (*_said(file), None)]
    folders = {folder.resolve(): folder for folder in (*running.folders_of(file), *said)}
    return _only(name, [folder for folder in folders.values() if _answers(folder)])


def _only(name: str, folders: Sequence[Path]) -> Remote | None:
    if len(folders) > 1:
        listed = ", ".join(str(folder) for folder in folders)
        raise Failure(f"{len(folders)} gateways of {name} run", f"name one by its state folder, with --state: {listed}")
    return Remote.local(folders[0]) if folders else None


def _said(file: Path) -> Iterator[str]:
    """What a file says under `state`, as far as that can be read."""
    from pylae.config.document.load import parse

    if file.suffix == ".py":
        return
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Another user's, or not there any more.
        return
    for line in _STATE.findall(text):
        with contextlib.suppress(ConfigError):
            value = parse(line, str(file)).root.plain()["state"]
            if isinstance(value, str) and value:
                yield value


def _answers(folder: Path) -> bool:
    from pylae.state import running

    try:
        return running.answers(folder)
    except PermissionError:
        raise Failure(
            f"the gateway with the state folder {folder} is another user's", "call this as that user"
        ) from None


def _token_file(file: str, settings: Admin, folder: str | None) -> Path:
    from pylae import state
    from pylae.admin.token import token_file

    return token_file(settings, state.folder_of(file, folder), Path(file).absolute().parent)


def _elsewhere(advice: str) -> str:
    return f"{advice}; of another user or machine: --state DIR, or --admin ADDRESS and {TOKEN}"


def _configured(file: str, token: str | None) -> Remote | None:
    """The gateway at the address that a file gives, for one whose state folder can hold no socket."""
    from pylae.admin.token import token_of
    from pylae.gateway import Gateway

    if file.endswith(".py"):
        # To find a gateway is no reason to execute a program.
        return None
    try:
        config = Gateway.from_file(file).config
    except PylaeError:
        return None
    if not config.admin or config.admin.address.endswith(":0"):
        return None
    token = token or token_of(config.admin, _token_file(file, config.admin, config.state), create=False)
    remote = Remote(config.admin.address, token) if token else None
    return remote if remote and remote.listens(_PATIENCE) else None


def _at_address(admin: str, config: str | None) -> Remote:
    """A gateway at an address, with the token of the configuration at hand."""
    from pylae.admin.token import token_of
    from pylae.config.models.admin import Admin
    from pylae.gateway import Gateway

    file = config or next((name for name in DEFAULTS if Path(name).exists()), None)
    if file is None:
        raise Failure(f"what is the token of the gateway at {admin}?", f"{TOKEN} or --token-file gives it")
    if admin.endswith(":0"):
        raise Failure("port 0 lets the system choose the port of the admin API", "the log of the gateway has it")
    said = Gateway.from_file(file).config
    settings = said.admin or Admin()
    kept = _token_file(file, settings, said.state)
    token = token_of(settings, kept, create=False)
    if token is None:
        raise Failure(f"there is no token in {kept}", f"was the gateway started by this user? {TOKEN} gives it")
    return Remote(admin, token)
