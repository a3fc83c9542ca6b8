"""`pylae schema`: the JSON schema, with which editors complete and check a configuration."""

from __future__ import annotations

import json

import click


@click.command(short_help="Print the JSON schema of the configuration.")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors.

    \b
    For VS Code and other editors with the YAML language server, run `pylae schema > pylae.schema.json` and start
    pylae.yaml with
      # yaml-language-server: $schema=pylae.schema.json
    """
    from pylae.config.models.config import Config

    click.echo(json.dumps(Config.model_json_schema(), indent=2))
