"""`pomona cloud plan`: print the changes of the stacks, and every request that `up` would send."""

from __future__ import annotations

from pathlib import Path

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError


def plan(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Show what `up` would change and send.

    The command creates a CloudFormation change set, prints its changes, and deletes it; it changes nothing else.
    Without credentials, all resources of the templates are listed. With credentials, the command fails if the
    cluster could not start.

    Example: pomona cloud plan -f cluster.toml
    """
    from pomona.cloud.artifacts import find_uploads
    from pomona.cloud.render_plan import (
        planned_json,
        planned_lines,
        stack_json,
        stack_lines,
        summary_line,
    )
    from pomona.cloud.session import (
        names_in_account,
        names_without_credentials,
        open_account,
        translate_cloud_errors,
    )
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.aws.client import Account
        from bootstrap.config.loader import load_config
        from bootstrap.deploy.deployment import load_outputs, preview, template_changes
        from bootstrap.deploy.plan import all_requests, plan, plan_notes
        from bootstrap.deploy.preflight import Findings, check_cluster
        from bootstrap.deploy.wait import previous_failure

        config = load_config(file)
        account = open_account(config) if Account.has_credentials() else None
        names = names_in_account(config, account) if account else names_without_credentials(config)
        with console.status("reading"):
            uploads = find_uploads(config, Path(file).parent, build=False)
            wanted = all_requests(names, uploads)
            failure, findings = None, Findings()
            if account:
                findings = check_cluster(names, account.read)
                failure = previous_failure(names, account.read)
                load_outputs(names, account)
            planned = list(plan(wanted, account))
            # A change set, which is created and deleted, is only worthwhile for a cluster that could start.
            stacks = (
                preview(names, uploads.locations(names), account)
                if account and not findings.problems
                else template_changes(names)
            )
        notes = [
            *findings.notes,
            *plan_notes(config),
            *(f"{name}: {_missing_file_note(name)}" for name in uploads.missing()),
        ]
        if failure:
            notes.append(failure)
        if not uploads.model:
            notes.append(f"model: `up` exports the weights {config.files.weights} first")
        if account is None:
            notes.insert(0, f"no credentials: planned for an empty account, {names.account}")
    if as_json:
        document = {
            "account": names.account if account else None,
            "region": config.region,
            "problems": findings.problems,
            "notes": notes,
            "stacks": [stack_json(one) for one in stacks],
            "requests": [planned_json(number, one) for number, one in enumerate(planned, 1)],
        }
        console.print_json(document)
    else:
        for stack in stacks:
            for line in stack_lines(stack):
                console.print(line)
        for number, one in enumerate(planned, 1):
            for line in planned_lines(number, one):
                console.print(line)
        for note in notes:
            console.print(f"note: {note}")
        console.print(summary_line(planned, names.account if account else None, config.region))
    if findings.problems:
        raise AccountError("; ".join(findings.problems))


def _missing_file_note(file: str) -> str:
    """Return why a file counts as missing."""
    if Path(file).exists():
        return (
            "contains another version of Pomona or of its packages, or is for another architecture: "
            "`up` rebuilds it first, or prints how to"
        )
    return "`up` builds it first"
