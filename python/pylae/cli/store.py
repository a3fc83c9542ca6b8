"""`pylae store`: looks at the store, and keeps it in order."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pylae.cli.report import FAILED, USAGE, Failure
from pylae.cli.run import DEFAULTS
from pylae.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from pylae.settings import StoreSettings
    from pylae.store.store import Store

USER, PASSWORD = "PYLAE_STORE_USER", "PYLAE_STORE_PASSWORD"

C = TypeVar("C", bound=Callable[..., Any])


@click.group(short_help="Look at the store, and keep it in order.", invoke_without_command=True)
@click.pass_context
def store(ctx: click.Context) -> None:
    """Look at the store, where a gateway keeps what people change, and keep it in order.

    The store is the one of the configuration FILE, by default pylae.yaml or else gateway.py in this directory. With
    --store URL it is another one.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


def _options(verb: C, *, complete: bool = False) -> C:
    """Adds the options that say which store is meant, and passes it as `store`. A failure is shown as JSON too.

    If it has to be `complete`, what waits for it in the state folder is moved there first.
    """

    @functools.wraps(verb)
    def with_store(config: str | None, state: str | None, url: str | None, as_json: bool, **rest: Any) -> None:
        try:
            with _meant(config, state, url, complete=complete) as found:
                lines, said = verb(store=found, **rest)
        except StoreError as error:
            if not as_json:
                raise
            click.echo(json.dumps({"ok": False, "message": str(error), "hint": error.hint}, indent=2))
            raise SystemExit(FAILED) from None
        if as_json:
            click.echo(json.dumps({"ok": True, **said}, indent=2))
        else:
            click.echo("\n".join(lines))

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        click.option(
            "--store",
            "url",
            metavar="URL",
            help=f"Another store: sqlite, postgresql://… or etcd://…; with {USER} and {PASSWORD} from the environment.",
        ),
        click.option("--state", metavar="DIR", type=click.Path(), help="State folder, in which the file of SQLite is."),
        click.option("-c", "--config", metavar="FILE", type=click.Path(), help="The configuration of the gateway."),
    ):
        with_store = option(with_store)
    return with_store  # type: ignore[return-value]


@store.command(short_help="Check whether the store can be used.")
@_options
def check(store: Store) -> tuple[list[str], dict[str, Any]]:
    """Check whether this version of Pylae can use the store as it is, and write to it.

    Exits with 3 if it cannot: it does not answer, it has no schema or another one, or someone is restoring a backup.
    """
    from pylae.units import counted

    store.check()
    page = store.range("")
    # A lease is written, and shows nobody anything.
    store.revoke(store.grant(2))
    keys = f"more than {len(page.pairs)} keys" if page.more else counted(len(page.pairs), "keys")
    lines = [f"{click.style('ok', fg='green')} {store.where}: schema {store.newest}, revision {page.revision}, {keys}"]
    return lines, {"store": store.where, "schema": store.newest, "revision": page.revision}


@store.command(short_help="Make the schema, or bring it up to date.")
@_options
def migrate(store: Store) -> tuple[list[str], dict[str, Any]]:
    """Make the schema of the store, or bring it to the version that this version of Pylae uses.

    A file of SQLite is copied before. Back up PostgreSQL and etcd yourself, with `pylae store backup` or their own
    tools. Gateways of the earlier version may go on until they are restarted.
    """
    done = store.migrate()
    store.check()
    said = f"schema {done.after}"
    if done.before == done.after:
        said = f"has {said} already"
    elif done.before is not None:
        said = f"had schema {done.before} and has {said} now"
    else:
        said = f"has {said} now"
    lines = [f"{store.where} {said}"]
    if done.backup:
        lines.append(f"what it was before is in {done.backup}")
    return lines, {"store": store.where, "before": done.before, "after": done.after, "copy": done.backup}


@store.command(short_help="Write all that is in the store to a file.")
@click.argument("file", type=click.Path(path_type=Path))
@functools.partial(_options, complete=True)
def backup(store: Store, file: Path) -> tuple[list[str], dict[str, Any]]:
    """Write all that the store has at this moment to FILE, which only you can read. Gateways may go on meanwhile.

    Each engine can restore it. Keys with a lease, such as signs of life of nodes, are left out.
    """
    from pylae.store.backup import back_up
    from pylae.units import counted

    store.check()
    done = back_up(store, file)
    lines = [f"{counted(done.keys, 'keys')} of {store.where} are in {file}"]
    return lines, {"store": store.where, "file": str(file), "keys": done.keys, "revision": done.revision}


@store.command("restore", short_help="Put a backup into the store.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="In place of all that is in the store, which is deleted.")
@_options
def restore_(store: Store, file: Path, replace: bool) -> tuple[list[str], dict[str, Any]]:
    """Put what is in the backup FILE into the store. Stop the gateways before.

    The store must be empty, or --replace be given. FILE is read to its end first; if something is wrong with it,
    nothing is changed. If this is interrupted, the store cannot be used until a restore has ended.
    """
    from pylae.access.table import outdate
    from pylae.store.backup import restore
    from pylae.store.sqlite import SqliteStore
    from pylae.units import counted

    store.check_schema()
    if isinstance(store, SqliteStore):
        # The gateway that starts next is not to go by what it knew of tokens before.
        outdate(store.file.parent)
    done = restore(store, file, replace=replace)
    lines = [f"{counted(done.keys, 'keys')} of {file} are in {store.where}"]
    return lines, {"store": store.where, "file": str(file), "keys": done.keys}


@contextlib.contextmanager
def _meant(config: str | None, folder: str | None, url: str | None, *, complete: bool) -> Iterator[Store]:
    from pylae.store.engines import connected

    settings, state_folder, base = _settings(config, folder, url)
    with connected(settings, state_folder, base) as found:
        if complete and found.schema() in (None, found.newest):
            _take_in(settings, state_folder, base)
        yield found


def _take_in(settings: StoreSettings, folder: Path, base: Path) -> None:
    """Moves what waits in the state folder for a gateway to open its file of SQLite: the history, and the audit."""
    from pylae.access import audit_file
    from pylae.access.audit import AuditLog
    from pylae.history.journal import FOLDER
    from pylae.runtime.recorder import Recorder
    from pylae.store.kept import Kept

    with contextlib.closing(Kept(settings, folder, base)) as kept:
        if kept.shared or not any((folder / name).exists() for name in (FOLDER, audit_file.NAME)):
            return
        Recorder(kept, folder, is_on=True).history()
        AuditLog(kept, folder, lambda: settings.audit, lambda: False).move()


def _settings(config: str | None, folder: str | None, url: str | None) -> tuple[StoreSettings, Path, Path]:
    """Returns the settings of the store, the state folder, and the folder that names of files are relative to."""
    from pylae import state
    from pylae.gateway import Gateway

    file = config or next((name for name in DEFAULTS if Path(name).exists()), None)
    if file is None:
        if folder is None and (url is None or url == "sqlite"):
            raise Failure(
                f"there is neither {' nor '.join(DEFAULTS)} in this directory",
                "give the configuration with -c FILE, the state folder with --state DIR, or a server with --store URL",
                USAGE,
            )
        return _given(url or "sqlite"), Path(folder or ""), Path()
    if url is not None and (folder is not None or url != "sqlite"):
        # Nothing of the configuration counts.
        return _given(url), Path(folder or ""), Path()
    known = Gateway.from_file(file).config
    state_folder = Path(folder) if folder is not None else state.folder_of(file, known.state)
    return _given(url) if url else known.store, state_folder, Path(file).absolute().parent


def _given(url: str) -> StoreSettings:
    from pylae.settings import StoreSettings

    try:
        if url == "sqlite":
            return StoreSettings(url=url)
        return StoreSettings(url=url, user=os.environ.get(USER) or None, password=os.environ.get(PASSWORD) or None)
    except ConfigError as error:
        found = error.problems[0]
        raise Failure(f"--store: {found.message}", found.hint, USAGE) from None
