"""The configuration, the state folder and the secrets of a gateway."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylae import auth, state
from pylae.config.builder import ConfigBuilder
from pylae.config.models.address import is_loopback
from pylae.config.models.config import Config
from pylae.doctor.result import Result, amount, failure, ok, warning
from pylae.errors import ConfigError, PylaeError
from pylae.gateway import Gateway
from pylae.policies.access_log import NO_FILES, AccessLog
from pylae.state import local_socket, running
from pylae.units import counted

_LITTLE = 100 * 1024 * 1024
"""Bytes of free disk space below which logs and state may soon run out of space."""
_SECRETS = ("admin-token", "applied.json")


@dataclass(frozen=True, slots=True)
class Found:
    """The result of looking for a configuration; without one, the defaults apply."""

    file: Path | None
    config: Config
    results: tuple[Result, ...]
    shape: dict[str, str]
    """A summary of the configuration, without any text that a person wrote."""


def configuration(file: Path | None) -> Found:
    """Reads a configuration and checks it."""
    name = "configuration"
    if file is None:
        text = "there is neither pylae.yaml nor gateway.py in this directory; checking the defaults"
        return Found(None, Config(), (warning(name, text, "`pylae new gateway` writes one"),), {})
    try:
        builder = Gateway.from_file(file).builder
        plan = builder.plan()
        warnings = builder.check(plan)
    except ConfigError as error:
        return Found(file, Config(), tuple(_problems(file, error)), {"problems": str(len(error.problems))})
    except (PylaeError, OSError) as error:
        return Found(file, Config(), (failure(name, f"{file}: {error}"),), {})
    counts = ", ".join(counted(len(plan[key]), key) for key in ("routes", "services"))
    said = ok(name, f"{file}: {counts}")
    told = (warning(name, str(problem)) for problem in warnings)
    return Found(file, builder.config, (said, *told), _shape(builder, plan, len(warnings)))


def _problems(file: Path, error: ConfigError) -> Iterator[Result]:
    hint = f"`pylae check {file}` shows all of them"
    first, *more = error.problems
    further = f", and {counted(len(more), 'problems')} more" if more else ""
    yield failure("configuration", f"{first}{further}", hint)


def _shape(builder: ConfigBuilder, plan: Mapping[str, Any], warnings: int) -> dict[str, str]:
    policies = sorted({name for route in plan["routes"] for name in route["policies"]})
    listeners = [
        f"{'https' if one.tls else 'http'} on {'loopback' if is_loopback(one.address) else 'other addresses'}"
        for one in builder.config.listeners
    ]
    return {
        "written in": "Python" if builder.origin.suffix == ".py" else "YAML",
        "files": str(len(builder.written_in)),
        "warnings": str(warnings),
        "listeners": ", ".join(listeners),
        "routes": str(len(plan["routes"])),
        "services": str(len(plan["services"])),
        "policies": ", ".join(policies) or "none",
        "authenticators": ", ".join(sorted({one["kind"] for one in plan["auth"]["authenticators"]}))
        if plan["auth"]
        else "none",
        "hooks": str(len(builder.hooks)),
        "workers": str(plan["workers"]),
    }


def results(found: Found) -> Iterator[Result]:
    """Checks the state folder, its secrets, and where logs go."""
    folder = state.folder_of(found.file, found.config.state) if found.file else state.home()
    yield from _folder(folder)
    for file in (*(folder / name for name in _SECRETS), state.home() / auth.FILE):
        yield from _secret(file)
    yield from _logs(found.config)


def running_process(found: Found) -> int | None:
    """Returns the process id of the gateway that runs with a configuration and answers in its state folder."""
    if found.file is None:
        return None
    folders = [*running.folders_of(found.file), state.folder_of(found.file, found.config.state)]
    for folder in folders:
        try:
            with local_socket.connect(folder, 1.0) as connection:
                return local_socket.peer_of(connection)
        except OSError:
            continue
    return None


def _folder(folder: Path) -> Iterator[Result]:
    name = "state folder"
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir():
        yield failure(name, f"{there} is not a folder", "set `state` to another folder")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written" if there == folder else f"cannot be created: {there} is not writable"
        yield failure(name, f"{folder} {what}", "set `state` to another folder, or let this user write to it")
        return
    if there == folder and stat.S_IMODE(folder.stat().st_mode) & 0o022:
        yield warning(name, f"other users can change the content of {folder}", f"chmod go-w {folder}")
    free = shutil.disk_usage(there).free
    if free < _LITTLE:
        yield warning(
            name, f"only {amount(free)} are free on the disk of {folder}", "free some space for logs and state"
        )
    else:
        yield ok(name, f"{folder}{'' if there == folder else ' will be created'}; {amount(free)} are free")


def _secret(file: Path) -> Iterator[Result]:
    try:
        found = file.lstat()
    except OSError:
        return
    name = "secret"
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        yield failure(name, f"{file} belongs to another user", "remove it, or start the gateway as that user")
    elif stat.S_IMODE(found.st_mode) & 0o077:
        yield failure(name, f"other users can read or change {file}", f"remove it, or: chmod 600 {file}")
    else:
        yield ok(name, f"only its owner can read {file}")


def _logs(config: Config) -> Iterator[Result]:
    policies = (policy.access_log for policy in (config.policies, *config.routes))
    for output in dict.fromkeys(one.output for one in policies if isinstance(one, AccessLog)):
        if output in NO_FILES:
            continue
        file, name = Path(output), "access log"
        target = file if file.exists() else file.parent
        if os.access(target, os.W_OK):
            yield ok(name, f"{output} is writable")
        else:
            yield failure(name, f"{target} is not writable", "choose another `output`, or let this user write to it")
