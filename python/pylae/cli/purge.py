"""`pylae purge`: make the response cache forget."""

from __future__ import annotations

import click

from pylae.cli.options import options
from pylae.cli.remote import Remote
from pylae.cli.report import USAGE, Failure


@click.command(short_help="Make the response cache forget.")
@click.option("--url", help="Answers to this URL; a path alone means any host.")
@click.option("--prefix", help="Answers to URLs that begin so.")
@click.option("--service", help="Answers of this service.")
@click.option("--tag", help="Answers that carry this tag.")
@click.option("--all", "everything", is_flag=True, help="All answers.")
@options
def purge(gateway: Remote, **what: str | bool | None) -> None:
    """Make the response cache of a running gateway forget what one option names."""
    given = {name: value for name, value in what.items() if value}
    if len(given) != 1:
        raise Failure(
            "exactly one of --url, --prefix, --service, --tag and --all is needed", "pylae purge --help", USAGE
        )
    count = gateway.post("/cache/purge", given)["purged"]
    click.echo(f"{count} answer{'s' * (count != 1)} forgotten")
