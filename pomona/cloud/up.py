"""`pomona cloud up`: create what the configuration describes and does not exist yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.deploy.plan import Planned


def up_and_tell(file: str, *, as_json: bool) -> None:
    """Send what is not there yet, each request told as it is sent."""
    from pomona.cloud.artifacts import find_uploads
    from pomona.cloud.render_plan import planned_json, planned_lines, summary_line
    from pomona.cloud.session import open_names, translate_cloud_errors
    from pomona.output.console import Console

    with translate_cloud_errors():
        from bootstrap.deploy.plan import all_requests, plan_notes, up

        screen = Console(as_json=as_json)
        names, account = open_names(file)
        config = names.config
        with screen.working("making what is uploaded"):
            uploads = find_uploads(config, Path(file).parent, make=True)
        if uploads.missing():
            raise AccountError(f"{uploads.missing()[0]}: missing: install Pomona again")
        done: list[Planned] = []
        for number, one in enumerate(up(all_requests(names, uploads), account), 1):
            done.append(one)
            for line in planned_lines(number, one, brief=True):
                screen.line(line)
    if as_json:
        requests = [planned_json(n, one) for n, one in enumerate(done, 1)]
        screen.show(
            {"account": account.number, "region": config.region, "requests": requests}
            | _made(account)
        )
        return
    for note in plan_notes(config):
        screen.line(f"note: {note}")
    screen.line(summary_line(done, account.number, config.region, done=True))
    for name, value in _made(account).items():
        screen.line(f"{name}: {value}")


def _made(account: Account) -> dict[str, str]:
    """What the user may want to name later on."""
    translate_cloud_errors = {
        "cluster.JobFlowId": "cluster",
        "application.applicationId": "application",
    }
    return {
        name: account.values[key]
        for key, name in translate_cloud_errors.items()
        if key in account.values
    }


def up(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Make all that the description says and is not there yet; run again, it goes on.

    Example: pomona cloud up -f cluster.toml
    """

    up_and_tell(file, as_json=as_json)
