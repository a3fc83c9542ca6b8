"""`pylae dashboard`: a web page about running gateways."""

from __future__ import annotations

import errno
import os
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pylae.cli.options import tls
from pylae.cli.remote import TOKEN, Identity, Remote
from pylae.cli.report import Failure

if TYPE_CHECKING:
    from pylae.dashboard.app import Server

EXTRA = "pylae[dashboard]"
PORT = 8090


def is_installed() -> bool:
    """Whether what the dashboard needs is there."""
    return find_spec("nicegui") is not None and find_spec("orjson") is not None


@click.command(short_help="Open a web page about running gateways.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--host", default="127.0.0.1", metavar="IP", help="Address to listen on. Default: 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port to listen on; 0 picks a free one. Default: {PORT}, or a free one if it is taken.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host, or host:port, by which browsers reach it. Repeatable.",
)
@click.option(
    "--link/--no-link",
    default=None,
    help="Print an address that lets one browser in, once, with your rights. Default: on a terminal.",
)
@click.option("--open/--no-open", "opening", default=None, help="Open that address. Default: if there is a display.")
@click.option(
    "-c", "--config", metavar="FILE", type=click.Path(), help="The configuration that the gateway was started with."
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="DIR",
    type=click.Path(),
    help="State folder of a gateway. Repeatable.",
)
@click.option(
    "--token-file",
    "token_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help=f"File with the admin token: one for all URLs, or one for each. Or set {TOKEN}.",
)
@tls
def dashboard(
    urls: tuple[str, ...],
    host: str,
    port: int | None,
    names: tuple[str, ...],
    link: bool | None,
    opening: bool | None,
    config: str | None,
    states: tuple[str, ...],
    token_files: tuple[str, ...],
    ca: str | None,
    cert: str | None,
    key: str | None,
) -> None:
    """Serve a web page about running gateways, until Ctrl-C.

    Each URL is the address of an admin API: ip:port, https://host:port or unix:/path. Without one it is the gateway of
    this directory, or that of --config or --state.

    Whoever opens the page logs in with an admin token, and may do there what the token allows. A terminal also shows an
    address that lets one browser in with the rights of whoever has started the dashboard.

    It speaks plain HTTP. For other machines, put it behind something that speaks TLS, and name its host with --name.

    \b
    Examples:
      pylae dashboard
      pylae dashboard 10.0.0.1:9901 10.0.0.2:9901 --ca ca.pem
    """
    if not is_installed():
        raise Failure("the dashboard is not installed", f"pip install '{EXTRA}'")
    if bool(urls) + bool(config) + bool(states) > 1:
        raise click.UsageError("give either URLs or --config or --state", click.get_current_context())
    if len(token_files) > 1 and len(token_files) != len(urls):
        raise click.UsageError("give one --token-file, or one for each URL", click.get_current_context())
    identity = Identity(ca, cert, key)
    remotes = _named(urls, token_files, identity) if urls else _found(config, states, token_files, identity)
    server = _started(remotes, host, port, names)
    _tell(server, link=sys.stdout.isatty() if link is None else link, opening=opening)
    server.run()


def _started(remotes: list[tuple[str, Remote, bool]], host: str, port: int | None, names: tuple[str, ...]) -> Server:
    """Returns a dashboard that listens. Raises Failure."""
    from pylae.dashboard.app import Server, listening
    from pylae.dashboard.nodes import nodes_of

    try:
        try:
            taken = listening(host, PORT if port is None else port)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            taken = listening(host, 0)
    except OSError as error:
        hint = "--port 0 picks a free one"
        raise Failure(f"cannot listen on {host}:{port or PORT}: {error.strerror or error}", hint) from None
    return Server(nodes_of(remotes), taken, names)


def _tell(server: Server, *, link: bool, opening: bool | None) -> None:
    """Says where the dashboard is, and opens it in a browser if that is wanted and there is a display."""
    click.echo(f"The dashboard: {click.style(server.address, bold=True)}")
    display = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not (link or opening) or not any(node.trusted for node in server.sessions.nodes):
        return
    address = f"{server.address}/enter/{server.sessions.issue_pass()}"
    if link:
        click.echo(f"Log in with an admin token, or open this once, within ten minutes:\n  {address}")
    if opening or (opening is None and display):
        webbrowser.open(address)


def _named(urls: tuple[str, ...], token_files: tuple[str, ...], identity: Identity) -> list[tuple[str, Remote, bool]]:
    tokens: list[str | None] = [Path(file).read_text(encoding="ascii").strip() for file in token_files]
    if len(tokens) < len(urls):
        tokens = [*(tokens or [os.environ.get(TOKEN)])] * len(urls)
    return [
        (url.rpartition("://")[2].rstrip("/"), Remote(url, token, identity=identity), token is not None)
        for url, token in zip(urls, tokens, strict=True)
    ]


def _found(
    config: str | None, states: tuple[str, ...], token_files: tuple[str, ...], identity: Identity
) -> list[tuple[str, Remote, bool]]:
    from pylae.cli.find import find

    file = token_files[0] if token_files else None
    remotes = [find(config, state, None, file, identity) for state in states or (None,)]
    return [(_name(remote), remote, True) for remote in remotes]


def _name(remote: Remote) -> str:
    if remote.folder is None:
        return remote.address
    folder = remote.folder.resolve()
    return folder.parent.name if folder.name == "state" else folder.name
