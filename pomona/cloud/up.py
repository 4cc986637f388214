"""`pomona cloud up`: create the resources of the configuration that do not exist yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.aws.request import Request
    from bootstrap.config.names import Names
    from bootstrap.deploy.plan import PlannedRequest
    from bootstrap.deploy.stacks import StackChanges
    from bootstrap.resources.uploads import Uploads
    from pomona.output.console import Console


def up(
    file: ConfigFile = "cluster.toml",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before nodes or jobs are started.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return before the cluster or the job is usable.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Deploy the configuration.

    The CloudFormation stacks are created or updated, files are uploaded, and the cluster or the job is started. Rerun
    the command to resume after an interruption.
    Before it starts nodes or jobs, which are billed, the command asks for confirmation. It waits until the cluster is
    usable or the job runs, or reports AWS's reason for a failure.

    Example: pomona cloud up -f cluster.toml
    """
    from pomona.cloud.artifacts import find_uploads
    from pomona.cloud.confirm import confirm_start
    from pomona.cloud.render_plan import planned_json, stack_json, summary_line
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.deploy.deployment import load_outputs
        from bootstrap.deploy.plan import all_requests, billed_starts, plan_notes
        from bootstrap.deploy.preflight import check_cluster
        from bootstrap.deploy.wait import previous_failure, wait_until_usable

        names, account = connect(file)
        config = names.config
        with console.status("querying AWS"):
            findings = check_cluster(names, account.read)
        if findings.problems:
            raise AccountError("; ".join(findings.problems))
        with console.status("building the files to upload"):
            uploads = find_uploads(config, Path(file).parent, build=True)
        if uploads.missing():
            raise AccountError(f"{uploads.missing()[0]}: missing: reinstall Pomona")
        wanted = all_requests(names, uploads)
        with console.status("querying AWS"):
            failure = previous_failure(names, account.read)
            load_outputs(names, account)
        if failure:
            console.print(f"note: {failure}")
        if not yes:
            with console.status("querying AWS"):
                starts = billed_starts(wanted, account)
            if not confirm_start(console, "up", starts, account.number):
                return console.print("nothing was created or started")
        with console.status("deploying"):
            done, stacks = _deploy(console, names, uploads, account)
        labels = {"cluster.JobFlowId": "cluster", "application.applicationId": "application"}
        ids = {label: account.values[key] for key, label in labels.items() if key in account.values}
        for label, value in ids.items():
            console.print(f"{label}: {value}")
        state = None
        if not no_wait:
            with console.status("waiting: after Ctrl-C, the deployment continues"):
                state = wait_until_usable(names, account, console.report_stage)
            console.print(f"{'job' if config.mode == 'serverless' else 'cluster'} is {state}")
    if as_json:
        document = {
            "account": account.number,
            "region": config.region,
            "stacks": [stack_json(one) for one in stacks],
            "requests": [planned_json(number, one) for number, one in enumerate(done, 1)],
        }
        return console.print_json(document | ids | {"state": state})
    for note in [*findings.notes, *plan_notes(config)]:
        console.print(f"note: {note}")
    console.print(summary_line(done, account.number, config.region, done=True))
    if not names.config.storage.images.startswith("s3://"):
        console.print(f"next: aws s3 sync YOUR_IMAGES {names.images_uri}")
    return None


def _deploy(
    console: Console, names: Names, uploads: Uploads, account: Account
) -> tuple[list[PlannedRequest], list[StackChanges]]:
    """Send the requests and deploy the stacks; print each as soon as it is done."""
    from bootstrap.deploy.deployment import deploy_schedule, deploy_stacks
    from bootstrap.deploy.plan import requests_after_stack, requests_before_stack, up
    from pomona.cloud.render_plan import planned_lines, stack_lines

    done: list[PlannedRequest] = []

    def send(requests: list[Request]) -> None:
        for one in up(requests, account):
            done.append(one)
            for line in planned_lines(len(done), one, brief=True):
                console.print(line)

    send(requests_before_stack(names))
    stacks = deploy_stacks(names, account, console.report_stage)
    for stack in stacks:
        for line in stack_lines(stack):
            console.print(line)
    send(requests_after_stack(names, uploads))
    schedule = deploy_schedule(names, uploads.locations(names), account, console.report_stage)
    if schedule:
        for line in stack_lines(schedule):
            console.print(line)
        stacks.append(schedule)
    return done, stacks
