"""`user` and `group`: the account that a gateway started as root switches to once its sockets are bound."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pylae.config.document.files import reason
from pylae.config.document.nodes import Finding, Step
from pylae.config.models.config import Config
from pylae.errors import ConfigError, EngineError, Problem
from pylae.policies.access_log import NO_FILES, AccessLog
from pylae.state import owner
from pylae.state.owner import Owner

_LOG_MODE = 0o640
"""As `crates/proxy/src/telemetry/access_log/output.rs` has it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the gateway switches to."""

    name: str
    ids: Owner
    home: str | None

    @property
    def is_root(self) -> bool:
        """True if the account is root, so that there are no rights to give up."""
        return self.ids.uid == 0


def account(config: Config) -> Account | Finding | None:
    """The user that a configuration names, or what is wrong about it; None if it names none."""
    if config.user is None:
        return None
    user = _user(config.user)
    uid = user.pw_uid if user else _number(config.user)
    if uid is None:
        return Finding(("user",), f"there is no user {config.user}", "`useradd --system NAME` makes one")
    if config.group is not None:
        gid = _group(config.group)
        if gid is None:
            return Finding(("group",), f"there is no group {config.group}", "`groupadd --system NAME` makes one")
    elif user is None:
        return Finding(("user",), f"the user {uid} has no entry, so its group is not known", "give `group`, too")
    else:
        gid = user.pw_gid
    groups = os.getgrouplist(user.pw_name, gid) if user else [gid]
    return Account(user.pw_name if user else str(uid), Owner(uid, gid, groups), user.pw_dir if user else None)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _user(name: str) -> pwd.struct_passwd | None:
    number = _number(name)
    try:
        return pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
    except (KeyError, OverflowError):
        return None


def _group(name: str) -> int | None:
    try:
        return _number(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def impossible(account: Account) -> Finding | None:
    """Why this process cannot become that user."""
    if os.geteuid() == 0 or (os.geteuid() == account.ids.uid and os.getegid() in (account.ids.gid, *os.getgroups())):
        return None
    text = f"only root can become {account.name}, and the gateway was started by the user {_name(os.geteuid())}"
    return Finding(("user",), text, f"start it as root or as {account.name}, or leave out `user` and `group`")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def prepared(config: Config, problem_at: Callable[[Finding], Problem]) -> Account | None:
    """Returns the user that the gateway becomes; what is made from now on is that user's. Raises ConfigError."""
    found = account(config)
    if isinstance(found, Finding):
        raise ConfigError([problem_at(found)])
    if found is not None:
        never = impossible(found)
        findings = [never] if never else list(prepare(found, config))
        if findings:
            raise ConfigError([problem_at(finding) for finding in findings])
    return found


def prepare(account: Account, config: Config) -> Iterator[Finding]:
    """Lets the user own all files made from now on, logs included. Yields what the user cannot write."""
    if os.geteuid() != 0 or account.is_root:
        return
    owner.be(account.ids)
    os.environ.update({"USER": account.name, "LOGNAME": account.name})
    if account.home is not None:
        # Where the state is kept unless it is said otherwise, and what hooks look for.
        os.environ["HOME"] = account.home
    yield from _unreadable(account)
    for path, output in _outputs(config):
        try:
            owner.make_file(Path(output), _LOG_MODE)
        except PermissionError:
            yield Finding(path, f"{account.name} cannot write the file {output}", f"chown {account.name} {output}")
        except OSError:
            # A pipe that nobody reads yet, or what the engine says better.
            continue


def _unreadable(account: Account) -> Iterator[Finding]:
    """The folders of Python and of this package. The user must be able to read them for later imports."""
    with owner.acting():
        for file in (os.__file__, __file__):
            if not os.access(file, os.R_OK, effective_ids=True):
                text = f"{account.name} cannot read {Path(file).parent}, which the gateway is made of"
                yield Finding(("user",), text, "install Python and Pylae where every user can read them")


def _outputs(config: Config) -> Iterator[tuple[tuple[Step, ...], str]]:
    """The files of access logs."""
    places = [(("policies",), config.policies), *((("routes", i), route) for i, route in enumerate(config.routes))]
    for place, policies in places:
        policy = policies.access_log
        if isinstance(policy, AccessLog) and policy.output not in NO_FILES:
            yield (*place, "access_log", "output"), policy.output


def unusable(account: Account, folder: Path) -> str | None:
    """Why the user cannot use a state folder. Makes the folder if it does not exist."""
    if os.geteuid() != 0 or account.is_root:
        return None
    try:
        owner.make_folder(folder)
    except OSError as error:
        return f"{folder} cannot be made: {reason(error)}; give another one as `state`"
    with owner.acting():
        try:
            strange = next((one for one in (folder, *folder.iterdir()) if one.lstat().st_uid != account.ids.uid), None)
            usable = os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        except PermissionError:
            strange, usable = folder, False
    if strange is None and usable:
        return None
    return f"{strange or folder} does not belong to {account.name}; chown -R {account.name}: {folder}"


def drop(account: Account | None) -> None:
    """Gives up root for good, in all threads. Raises EngineError."""
    if account is None or account.is_root or os.geteuid() != 0:
        return
    ids = account.ids
    try:
        os.setgroups(ids.groups)
        os.setgid(ids.gid)
        os.setuid(ids.uid)
    except OSError as error:
        text = f"the gateway cannot become {account.name}: {error.strerror}; it needs CAP_SETUID and CAP_SETGID"
        raise EngineError(text) from None
    if os.getresuid() != (ids.uid,) * 3 or os.getresgid() != (ids.gid,) * 3 or _can_be_root():
        raise EngineError(f"the gateway has become {account.name}, but could be root again")


def _can_be_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
