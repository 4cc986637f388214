"""The subcommands of `pomona cloud`."""

from __future__ import annotations

import typer

from pomona.cloud.clone import clone
from pomona.cloud.down import down
from pomona.cloud.estimate import estimate
from pomona.cloud.example import example, prices
from pomona.cloud.logs import logs
from pomona.cloud.plan import plan
from pomona.cloud.policy import policy
from pomona.cloud.resize import resize
from pomona.cloud.status import status
from pomona.cloud.template import template
from pomona.cloud.tunnel import tunnel
from pomona.cloud.up import up

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _about() -> None:
    """Run Pomona on AWS, configured by one file.

    Example: pomona cloud plan -f cluster.toml
    """


for command in (
    example,
    template,
    policy,
    plan,
    up,
    status,
    logs,
    tunnel,
    clone,
    resize,
    down,
    estimate,
    prices,
):
    app.command()(command)
