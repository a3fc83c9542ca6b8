"""`pylae schema`: what editors need to complete and check a configuration."""

from __future__ import annotations

import json

import click


@click.command(short_help="Print the JSON schema of the configuration.")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors.

    \b
    In VS Code and others with the YAML language server, after `pylae schema > pylae.schema.json`, begin pylae.yaml with
      # yaml-language-server: $schema=pylae.schema.json
    """
    from pylae.config.models.config import Config

    click.echo(json.dumps(Config.model_json_schema(), indent=2))
