"""Generate the reference pages that are derived from the code: run `python docs/generate.py`.

- docs/reference/cli.md, from the commands of Pomona
- docs/reference/iam-permissions.md, from the IAM policies of bootstrap
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig, Ingest
from bootstrap.resources.iam_node_policies import job_policy, node_policy
from bootstrap.resources.iam_policies import (
    Statement,
    evaluator_policy,
    scheduler_policy,
    service_policy,
)
from pomona.cli import app

REFERENCE = Path(__file__).parent / "reference"

_CLI_HEAD = """# Command-line reference

Generated from the code by `python docs/generate.py`. LAKE and SOURCE are folders or `s3://` URIs."""


def _command_sections(command: Any, name: str) -> Iterator[str]:
    """Yield a section for a command and for each of its subcommands."""
    text = [line.strip() for line in (command.help or "").strip().splitlines()]
    lines = [f"## {name}", ""]
    for line in text:
        example = line.partition("Example: ")[2]
        lines += ["```sh", example, "```"] if example else [line]
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        if parameter.param_type_name == "argument":
            label = parameter.metavar or parameter.name.upper()
        else:
            label = ", ".join(parameter.opts)
        if parameter.required:
            default = "required"
        elif parameter.default is None or parameter.default is False or callable(parameter.default):
            default = ""
        else:
            default = f"`{parameter.default}`"
        rows.append(f"| `{label}` | {parameter.help or ''} | {default} |")
    if rows:
        lines += ["", "| parameter | description | default |", "| --- | --- | --- |", *rows]
    yield "\n".join(lines)
    for subname, subcommand in getattr(command, "commands", {}).items():
        yield from _command_sections(subcommand, f"{name} {subname}")


def render_cli() -> str:
    """Return the text of the command-line reference."""
    command = typer.main.get_command(app)
    return "\n\n".join([_CLI_HEAD, *_command_sections(command, "pomona")]) + "\n"


_IAM_HEAD = """# IAM permissions

Generated from the code by `python docs/generate.py`. `pomona cloud up` creates these roles with exactly these
inline policies; every statement is an Allow statement. `NAME` is the `name` in `cluster.toml`, `ACCOUNT` the
account number, `REGION` the region. The tables show the default prefixes; other buckets and prefixes in
`cluster.toml` change the ARNs. If the images are in another bucket, the roles that read them get a statement that
lists that bucket.

- A role that an AWS service assumes trusts this service only on behalf of this account (`aws:SourceAccount`,
  `aws:SourceArn`). The role of the nodes is the exception: EC2 supports no source condition.
- `NAME-service` also has the AWS managed policy `AmazonEMRServicePolicy_v2`. It contains what EMR needs in EC2,
  limited to resources with the tag `for-use-with-amazon-emr-managed-policies`, which the subnet, the security
  groups and the cluster get.
- `NAME-evaluator` is for the principals in `evaluator.principals`, or else for the account.
- `KeepNotebooks` exists only with the release `emr-7.13.0`, which has JupyterHub.
- No role can read the logs; the administrators of the account can."""


def iam_roles() -> dict[str, list[Statement]]:
    """Return the statements of each role, with placeholders for name, account and region."""
    plain = Names(ClusterConfig(name="NAME", region="REGION"), account="ACCOUNT")
    once = Names(
        ClusterConfig(name="NAME", region="REGION", ingest=Ingest("once")), account="ACCOUNT"
    )
    serverless = Names(
        ClusterConfig(name="NAME", region="REGION", mode="serverless"), account="ACCOUNT"
    )
    return {
        "NAME-service": service_policy(plain),
        "NAME-nodes": node_policy(plain),
        "NAME-job (EMR Serverless)": job_policy(serverless),
        "NAME-scheduler": scheduler_policy(plain),
        'NAME-scheduler (ingest.mode = "once")': scheduler_policy(once),
        "NAME-scheduler (EMR Serverless)": scheduler_policy(serverless),
        "NAME-evaluator": evaluator_policy(plain),
    }


def _statement_row(statement: Statement) -> str:
    conditions = []
    for operator, tests in statement.condition.items():
        for key, values in tests.items():
            patterns = [values] if isinstance(values, str) else values
            alternatives = " or ".join(f"`{pattern}`" for pattern in patterns)
            conditions.append(f"`{key}` {operator} {alternatives}")
    cells = [
        statement.sid,
        ", ".join(f"`{action}`" for action in statement.actions),
        ", ".join(f"`{resource}`" for resource in statement.resources),
        "; ".join(conditions),
        statement.why,
    ]
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |"


def render_iam() -> str:
    """Return the text of the page of IAM permissions."""
    sections = [
        "\n".join(
            [
                f"## {role}",
                "",
                "| statement | actions | resources | condition | purpose |",
                "| --- | --- | --- | --- | --- |",
                *map(_statement_row, statements),
            ]
        )
        for role, statements in iam_roles().items()
    ]
    return "\n\n".join([_IAM_HEAD, *sections]) + "\n"


#: Pages below docs/reference/ and the functions that render them.
PAGES: dict[str, Callable[[], str]] = {"cli.md": render_cli, "iam-permissions.md": render_iam}


if __name__ == "__main__":
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render())
