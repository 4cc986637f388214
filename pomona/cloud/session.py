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
    """The account of the caller's credentials; it must be the one that the description names, if it names one.

    Raises
    ------
    AccountError
        Where it is another one.
    """
    from bootstrap.aws.client import Account

    account = Account(config.region)
    if config.account not in (None, account.number):
        raise AccountError(
            f"the credentials are of account {account.number}, and the description is for "
            f"{config.account}: set AWS_PROFILE, or change `account`"
        )
    return account


def open_names(file: str) -> tuple[Names, Account]:
    """Names of a description in the caller's account, and that account."""
    from bootstrap.config.loader import load_config
    from bootstrap.config.names import Names

    config = load_config(file)
    account = open_account(config)
    return Names(config, account.number, account.partition), account


@contextmanager
def translate_cloud_errors() -> Iterator[None]:
    """Have what `bootstrap` raises reach the user as one line."""
    from bootstrap.errors import CloudError

    try:
        yield
    except CloudError as error:
        raise AccountError(str(error)) from error


def open_cluster_config(file: str) -> tuple[ClusterConfig, Account]:
    """A description of nodes, and the account that they are in."""
    from bootstrap.config.loader import load_config

    config = load_config(file)
    if config.mode == "serverless":
        raise AccountError(
            f'{file}: mode is "serverless", which has no nodes to be more, fewer or other ones: '
            "EMR Serverless scales by itself, up to [limits] nodes"
        )
    return config, open_account(config)
