"""`pomona cloud policy`: print the IAM policy that a deployer needs."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import ConfigFile
from streaming.counts import format_count
from streaming.errors import AccountError, UsageError


def policy(
    file: ConfigFile = "cluster.toml",
    part: Annotated[
        int | None, typer.Option(metavar="N", help="Print only document N, if there are several.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="List what the caller's own policies do not allow.")
    ] = False,
) -> None:
    """Print the IAM policy that a deployer needs, as JSON.

    It allows the requests that plan, up, status, logs, clone, resize and down send for this configuration. A policy
    beyond IAM's size limit is printed as a list of documents. The account is that of the configuration, or else of the
    credentials.

    With --check, IAM's policy simulator compares it with the policies of the caller, which needs
    iam:SimulatePrincipalPolicy; nothing is deployed.

    Example: pomona cloud policy -f cluster.toml > policy.json
    """
    from pomona.cloud.session import (
        connect,
        names_without_credentials,
        translate_cloud_errors,
    )
    from pomona.output.console import Console

    with translate_cloud_errors():
        from bootstrap.aws.client import Account
        from bootstrap.config.loader import load_config
        from bootstrap.deploy.deployer_policy import deployer_policies

        config = load_config(file)
        if check:
            _check_caller(file)
            return
        if config.account:
            names = names_without_credentials(config)
        elif Account.has_credentials():
            names, _ = connect(file)
        else:
            raise UsageError(
                f"{file}: account is missing, and there are no credentials: the policy names the account; "
                "set `account`, or AWS_PROFILE"
            )
        documents = deployer_policies(names)
    if part is not None and not 1 <= part <= len(documents):
        raise UsageError(f"--part {part}: it must be 1 to {len(documents)}")
    if part is not None:
        documents = [documents[part - 1]]
    Console(as_json=True).print_json(documents[0] if len(documents) == 1 else documents)


def _check_caller(file: str) -> None:
    """Print what the caller's policies do not allow.

    Raises
    ------
    AccountError
        If an action is missing.
    """
    from bootstrap.deploy.caller_permissions import missing_permissions
    from bootstrap.errors import CloudError
    from pomona.cloud.session import connect
    from pomona.output.console import Console

    console = Console()
    names, account = connect(file)
    try:
        missing = missing_permissions(names, account.read)
    except CloudError as error:
        console.print(f"not checked: {error}")
        return
    for line in missing:
        console.print(f"missing: {line}")
    if missing:
        raise AccountError(
            f"missing: {format_count(len(missing), 'permission')}; `pomona cloud policy -f {file}` prints a "
            "policy that has them"
        )
    console.print("the policies of the caller allow all requests")
