"""`pomona cloud plan`: print every request that `up` would send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.options import ConfigFile, Json

if TYPE_CHECKING:
    from bootstrap.config.names import Names
    from bootstrap.config.schema import ClusterConfig


def tell_plan(file: str, *, as_json: bool) -> None:
    """Tell every request that `up` would send, and send none of them."""
    from pomona.cloud.artifacts import find_uploads
    from pomona.cloud.render_plan import planned_json, planned_lines, summary_line
    from pomona.cloud.session import open_account, translate_cloud_errors
    from pomona.output.console import Console

    with translate_cloud_errors():
        from bootstrap.aws.client import Account
        from bootstrap.config.loader import load_config
        from bootstrap.config.names import Names
        from bootstrap.deploy.plan import all_requests, plan, plan_notes

        screen, config = Console(as_json=as_json), load_config(file)
        account = open_account(config) if Account.has_credentials() else None
        names = Names(config, account.number, account.partition) if account else _nobody(config)
        with screen.working("reading"):
            uploads = find_uploads(config, Path(file).parent, make=False)
            planned = list(plan(all_requests(names, uploads), account))
        notes = [
            *plan_notes(config),
            *(f"{name}: {_to_be_made(name)}" for name in uploads.missing()),
        ]
        if not uploads.model:
            notes.append(f"model: `up` exports the weights {config.files.weights} first")
        if account is None:
            notes.insert(0, f"no credentials: planned for an empty account, called {names.account}")
    if as_json:
        screen.show(
            {
                "account": names.account if account else None,
                "region": config.region,
                "notes": notes,
                "requests": [planned_json(n, one) for n, one in enumerate(planned, 1)],
            }
        )
        return
    for number, one in enumerate(planned, 1):
        for line in planned_lines(number, one):
            screen.line(line)
    for note in notes:
        screen.line(f"note: {note}")
    screen.line(summary_line(planned, names.account if account else None, config.region))


def _nobody(config: ClusterConfig) -> Names:
    from bootstrap.config.names import PLACEHOLDER_ACCOUNT, Names

    return Names(config, config.account or PLACEHOLDER_ACCOUNT)


def _to_be_made(file: str) -> str:
    if Path(file).exists():
        return "holds another Pomona, or other versions of its packages: `up` makes it anew first"
    return "`up` makes it first"


def plan(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Show every request that `up` would send to AWS, and send none of them.

    Example: pomona cloud plan -f cluster.toml
    """

    tell_plan(file, as_json=as_json)
