"""`pomona cloud up`: create what the configuration describes and does not exist yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError

if TYPE_CHECKING:
    from bootstrap.deploy.plan import PlannedRequest


def up(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Deploy the configuration.

    Resources that do not exist yet are created. Rerun the command to resume after an interruption.

    Example: pomona cloud up -f cluster.toml
    """
    from pomona.cloud.artifacts import find_uploads
    from pomona.cloud.render_plan import planned_json, planned_lines, summary_line
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.deploy.plan import all_requests, plan_notes, up

        names, account = connect(file)
        config = names.config
        with console.status("building the files to upload"):
            uploads = find_uploads(config, Path(file).parent, build=True)
        if uploads.missing():
            raise AccountError(f"{uploads.missing()[0]}: missing: reinstall Pomona")
        done: list[PlannedRequest] = []
        for number, one in enumerate(up(all_requests(names, uploads), account), 1):
            done.append(one)
            for line in planned_lines(number, one, brief=True):
                console.print(line)
    labels = {"cluster.JobFlowId": "cluster", "application.applicationId": "application"}
    ids = {label: account.values[key] for key, label in labels.items() if key in account.values}
    if as_json:
        requests = [planned_json(number, one) for number, one in enumerate(done, 1)]
        document = {"account": account.number, "region": config.region, "requests": requests}
        console.print_json(document | ids)
        return
    for note in plan_notes(config):
        console.print(f"note: {note}")
    console.print(summary_line(done, account.number, config.region, done=True))
    for label, value in ids.items():
        console.print(f"{label}: {value}")
