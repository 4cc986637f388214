"""Credentials, account and error translation shared by the subcommands of `pomona cloud`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streaming.errors import AccountError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.config.names import Names
    from bootstrap.config.schema import ClusterConfig


def open_account(config: ClusterConfig) -> Account:
    """Return the account of the caller's credentials.

    Raises
    ------
    AccountError
        If the configuration names another account.
    """
    from bootstrap.aws.client import Account

    account = Account(config.region)
    if config.account not in (None, account.number):
        raise AccountError(
            f"the credentials belong to account {account.number}, but the configuration is for "
            f"{config.account}: set AWS_PROFILE, or change `account`"
        )
    return account


def connect(file: str) -> tuple[Names, Account]:
    """Return the resource names of a configuration file and the caller's account."""
    from bootstrap.config.loader import load_config

    config = load_config(file)
    account = open_account(config)
    return names_in_account(config, account), account


def names_in_account(config: ClusterConfig, account: Account) -> Names:
    """Return the resource names of a configuration in an account, with the buckets of an existing stack."""
    from bootstrap.config.names import Names
    from bootstrap.deploy.deployment import names_of_stack

    return names_of_stack(Names(config, account.number, account.partition), account.read)


def names_without_credentials(config: ClusterConfig) -> Names:
    """Return the resource names of a configuration; the account is a placeholder if the configuration omits it."""
    from bootstrap.config.names import PLACEHOLDER_ACCOUNT, Names
    from bootstrap.config.partition import region_partition

    account = config.account or PLACEHOLDER_ACCOUNT
    return Names(config, account, region_partition(config.region))


def connect_to_cluster(file: str) -> tuple[ClusterConfig, Account]:
    """Return a configuration with nodes and the caller's account.

    Raises
    ------
    AccountError
        If the mode is "serverless": there are no nodes to clone or resize.
    """
    from bootstrap.config.loader import load_config

    config = load_config(file)
    if config.mode == "serverless":
        raise AccountError(
            f'{file}: mode is "serverless", which has no nodes to clone or resize: '
            "EMR Serverless scales by itself, up to [limits] nodes"
        )
    return config, open_account(config)


@contextmanager
def translate_cloud_errors() -> Iterator[None]:
    """Raise the errors of `bootstrap` as AccountError, which the command line prints in one line."""
    from bootstrap.errors import CloudError

    try:
        yield
    except CloudError as error:
        raise AccountError(str(error)) from error
