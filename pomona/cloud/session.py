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


def open_account(description: ClusterConfig) -> Account:
    """The account of the caller's credentials; it must be the one that the description names, if it names one.

    Raises
    ------
    AccountError
        Where it is another one.
    """
    from bootstrap.aws.client import Account

    account = Account(description.region)
    if description.account not in (None, account.number):
        raise AccountError(
            f"the credentials are of account {account.number}, and the description is for "
            f"{description.account}: set AWS_PROFILE, or change `account`"
        )
    return account


def open_names(file: str) -> tuple[Names, Account]:
    """Names of a description in the caller's account, and that account."""
    from bootstrap.config.loader import read_description
    from bootstrap.config.names import Names

    description = read_description(file)
    account = open_account(description)
    return Names(description, account.number, account.partition), account


@contextmanager
def told() -> Iterator[None]:
    """Have what `bootstrap` raises reach the user as one line."""
    from bootstrap.errors import CloudError

    try:
        yield
    except CloudError as error:
        raise AccountError(str(error)) from error


def _open(file: str) -> tuple[ClusterConfig, Account]:
    """A description of nodes, and the account that they are in."""
    from bootstrap.config.loader import read_description

    description = read_description(file)
    if description.mode == "serverless":
        raise AccountError(
            f'{file}: mode is "serverless", which has no nodes to be more, fewer or other ones: '
            "EMR Serverless scales by itself, up to [limits] nodes"
        )
    return description, open_account(description)
