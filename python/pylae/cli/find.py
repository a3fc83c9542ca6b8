"""Finds the running gateway that a command means: by directory, configuration, state folder or address."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pylae.cli.remote import TOKEN, Identity, Remote
from pylae.cli.report import Failure
from pylae.cli.run import DEFAULTS
from pylae.errors import ConfigError, PylaeError

if TYPE_CHECKING:
    from pylae.config.models.admin import Admin

ADDRESS = "PYLAE_ADMIN"
_PATIENCE = 5.0
_STATE = re.compile(r"^state:.*$", re.MULTILINE)


def find(
    config: str | None,
    folder: str | None,
    admin: str | None,
    token_file: str | None,
    identity: Identity = Identity(),  # noqa: B008 (it is frozen)
) -> Remote:
    """Returns the gateway that is meant. Raises Failure, or ConfigError if other users can read the token."""
    if folder is not None:
        if not _answers(Path(folder)):
            raise Failure(f"no gateway uses the state folder {folder}", _elsewhere("is it running?"))
        return Remote.local(Path(folder))
    token = Path(token_file).read_text(encoding="ascii").strip() if token_file else os.environ.get(TOKEN)
    given = os.environ.get(ADDRESS, "").strip()
    admin = admin or (given if given.lower() not in ("", "off", "false", "0") else None)
    if identity.cert and not identity.key:
        # One file may hold both.
        identity = dataclasses.replace(identity, key=identity.cert)
    if admin and token:
        return Remote(admin, token, identity=identity)
    if admin:
        return _at_address(admin, config, identity)
    return _of_file(config, token, identity) if config else _of_directory(token, identity)


def _of_file(file: str, token: str | None, identity: Identity) -> Remote:
    found = _local(file, Path(file)) or _configured(file, token, identity)
    if found is None:
        raise Failure(f"no gateway is running with {file}", _elsewhere(f"start it: pylae run {file}"))
    return found


def _of_directory(token: str | None, identity: Identity) -> Remote:
    from pylae.state import running

    for name in DEFAULTS:
        if found := _local(name, Path(name)):
            return found
    listed = running.found()
    here = [one for one in listed if any(origin.parent == Path.cwd().resolve() for origin in one.origins)]
    if found := _only("this directory", [one.folder for one in here]):
        return found
    if file := next((name for name in DEFAULTS if Path(name).exists()), None):
        return _of_file(file, token, identity)
    hint = f"give its configuration (-c FILE), its state folder (--state DIR), or its address (--admin) and {TOKEN}"
    if listed:
        hint += "; running are " + ", ".join(str(one.origins[0]) for one in listed)
    raise Failure("no gateway of this directory is running", hint)


def _local(name: str, file: Path) -> Remote | None:
    """Returns the gateway that was started with this configuration, even if the file has changed or gone."""
    from pylae import state
    from pylae.state import running

    said = [state.folder_of(file, setting) for setting in (*_said(file), None)]
    folders = {folder.resolve(): folder for folder in (*running.folders_of(file), *said)}
    return _only(name, [folder for folder in folders.values() if _answers(folder)])


def _only(name: str, folders: Sequence[Path]) -> Remote | None:
    if len(folders) > 1:
        listed = ", ".join(str(folder) for folder in folders)
        raise Failure(
            f"{len(folders)} gateways of {name} are running", f"choose one by its state folder, with --state: {listed}"
        )
    return Remote.local(folders[0]) if folders else None


def _said(file: Path) -> Iterator[str]:
    """Yields the value of `state` in a file, as far as it can be read."""
    from pylae.config.document.load import parse

    if file.suffix == ".py":
        return
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # It belongs to another user, or is gone.
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
            f"the gateway with the state folder {folder} belongs to another user", "run this command as that user"
        ) from None


def _token_file(file: str, settings: Admin, folder: str | None) -> Path:
    from pylae import state
    from pylae.admin.token import token_file

    return token_file(settings, state.folder_of(file, folder), Path(file).absolute().parent)


def _elsewhere(advice: str) -> str:
    return f"{advice}; for a gateway of another user or machine use --state DIR, or --admin ADDRESS and {TOKEN}"


def _trusting(identity: Identity, settings: Admin) -> Identity:
    """Adds the authority of a certificate that was made for this machine."""
    from pylae.state import local_tls

    if identity.ca is None and settings.tls is not None and settings.tls.auto:
        return dataclasses.replace(identity, ca=str(local_tls.authority_file()))
    return identity


def _configured(file: str, token: str | None, identity: Identity) -> Remote | None:
    """Returns the gateway at the address in a file, for gateways whose state folder cannot hold a socket."""
    from pylae.admin.token import token_of
    from pylae.gateway import Gateway

    if file.endswith(".py"):
        # Finding a gateway must not execute a program.
        return None
    try:
        config = Gateway.from_file(file).config
    except PylaeError:
        return None
    if not config.admin or config.admin.address.endswith(":0"):
        return None
    token = token or token_of(config.admin, _token_file(file, config.admin, config.state), create=False)
    if not token:
        return None
    speaking = "" if config.admin.address.startswith("unix:") else "https://" if config.admin.tls else "http://"
    remote = Remote(f"{speaking}{config.admin.address}", token, identity=_trusting(identity, config.admin))
    return remote if remote.listens(_PATIENCE) else None


def _at_address(admin: str, config: str | None, identity: Identity) -> Remote:
    """Returns the gateway at an address, with the token of the configuration at hand."""
    from pylae.admin.token import token_of
    from pylae.config.models.admin import Admin
    from pylae.gateway import Gateway

    file = config or next((name for name in DEFAULTS if Path(name).exists()), None)
    if file is None:
        raise Failure(f"the gateway at {admin} needs a token", f"set {TOKEN}, or give --token-file")
    if admin.endswith(":0"):
        raise Failure(
            "the configuration lets the system choose the port of the admin API (port 0)",
            "look for the address in the log of the gateway, and give it with --admin",
        )
    said = Gateway.from_file(file).config
    settings = said.admin or Admin()
    kept = _token_file(file, settings, said.state)
    token = token_of(settings, kept, create=False)
    if token is None:
        raise Failure(
            f"there is no token in {kept}", f"run this command as the user that started the gateway, or set {TOKEN}"
        )
    return Remote(admin, token, identity=_trusting(identity, settings))
