"""`pomona cloud template`: print a CloudFormation template, with the settings of a configuration as defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streaming.errors import UsageError

_DEFAULT_FILE = "cluster.toml"


def template(
    name: Annotated[
        str, typer.Option(metavar="NAME", help="long-lived or serverless.")
    ] = "long-lived",
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Configuration file (cluster.toml, if it exists)."),
    ] = None,
) -> None:
    """Print a CloudFormation template, for a platform team.

    The settings of the configuration are the defaults of its parameters. "long-lived" has buckets, roles, security
    groups and the schedule, "serverless" the application of EMR Serverless. `up` deploys the same templates.

    Example: pomona cloud template -f cluster.toml > pomona.yaml
    """
    from pomona.cloud.session import names_without_credentials, translate_cloud_errors
    from pomona.output.console import Console

    console = Console()
    with translate_cloud_errors():
        from bootstrap.resources.stack import (
            TEMPLATES,
            fill_defaults,
            read_template,
            required_parameters,
            template_parameters,
        )

        if name not in TEMPLATES:
            raise UsageError(f"--name {name}: it must be {' or '.join(TEMPLATES)}")
        text, tags = read_template(name), ""
        source = file or (_DEFAULT_FILE if Path(_DEFAULT_FILE).is_file() else None)
        if source:
            from bootstrap.config.loader import load_config

            names = names_without_credentials(load_config(source))
            tags = " ".join(f"{key}={value}" for key, value in names.tags.items())
            text = read_template(name, names.config.region)
            text = fill_defaults(text, template_parameters(name, names))
    defaults = f"defaults of {source}" if source else "no cluster.toml"
    required = ", ".join(required_parameters(text)) or "none"
    console.print(f"# Parameters: {defaults}; without default: {required}")
    if tags:
        console.print(f"# Stack tags, which CloudFormation propagates to the resources: {tags}")
    for line in text.splitlines():
        console.print(line)
