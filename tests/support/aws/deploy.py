"""Deploy a configuration as `pomona cloud up` does, without its output."""

from __future__ import annotations

from bootstrap.aws.client import Account
from bootstrap.config.names import Names
from bootstrap.deploy.deployment import deploy_schedule, deploy_stacks
from bootstrap.deploy.plan import requests_after_stack, requests_before_stack, up
from bootstrap.resources.uploads import Uploads


def deploy(names: Names, uploads: Uploads, account: Account) -> None:
    """Send the requests and deploy the stacks in order."""
    [*up(requests_before_stack(names), account)]
    deploy_stacks(names, account, lambda _: None)
    [*up(requests_after_stack(names, uploads), account)]
    deploy_schedule(names, uploads.locations(names), account, lambda _: None)
