"""`pylae purge`: removes responses from the cache."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import USAGE, Failure


@click.command(short_help="Remove responses from the cache.")
@click.option("--url", help="Responses for this URL; a path alone means any host.")
@click.option("--prefix", help="Responses for URLs that begin with this.")
@click.option("--service", help="Responses of this service.")
@click.option("--tag", help="Responses with this tag.")
@click.option("--all", "everything", is_flag=True, help="All responses.")
@options
def purge(gateway: Remote, **what: str | bool | None) -> None:
    """Remove responses from the cache of a running gateway. Give exactly one option that selects them.

    In a cluster, all nodes remove them. The number is that of this gateway.
    """
    given = {name: value for name, value in what.items() if value}
    if len(given) != 1:
        raise Failure(
            "exactly one of --url, --prefix, --service, --tag and --all is required", "pylae purge --help", USAGE
        )
    told = gateway.post("/cache/purge", given)
    count, later = told["purged"], "; the store is away: other nodes remove theirs once it is back"
    click.echo(f"{count} response{'s' * (count != 1)} removed{later * told['delayed']}")
