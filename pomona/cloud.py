"""`pomona cloud`: what would be sent to AWS, and sending it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.cloud_files import find_uploads
from pomona.cloud_telling import planned_json, planned_lines, summary_line
from pomona.output.console import Screen
from streaming.errors import AccountError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.config.names import Names
    from bootstrap.config.schema import Description
    from bootstrap.deploy.plan import Planned


def tell_example(name: str, screen: Screen) -> None:
    """Print one of the examples that come with `bootstrap`, to begin with."""
    import bootstrap

    example = Path(bootstrap.__file__).with_name(name).read_text()
    for line in example.splitlines():
        screen.line(line)


def tell_plan(file: str, *, as_json: bool) -> None:
    """Tell every request that `up` would send, and send none of them."""
    with told():
        from bootstrap.aws.client import Account
        from bootstrap.config.loader import read_description
        from bootstrap.config.names import Names
        from bootstrap.deploy.plan import all_requests, plan, remarks

        screen, description = Screen(as_json=as_json), read_description(file)
        account = open_account(description) if Account.has_credentials() else None
        names = (
            Names(description, account.number, account.partition)
            if account
            else _nobody(description)
        )
        with screen.working("reading"):
            uploads = find_uploads(description, Path(file).parent, make=False)
            planned = list(plan(all_requests(names, uploads), account))
        notes = [
            *remarks(description),
            *(f"{name}: {_to_be_made(name)}" for name in uploads.missing()),
        ]
        if not uploads.model:
            notes.append(f"model: `up` exports the weights {description.files.weights} first")
        if account is None:
            notes.insert(0, f"no credentials: planned for an empty account, called {names.account}")
    if as_json:
        screen.show(
            {
                "account": names.account if account else None,
                "region": description.region,
                "notes": notes,
                "requests": [planned_json(n, one) for n, one in enumerate(planned, 1)],
            }
        )
        return
    for number, one in enumerate(planned, 1):
        for line in planned_lines(number, one):
            screen.line(line)
    for note in notes:
        screen.line(f"note: {note}")
    screen.line(summary_line(planned, names.account if account else None, description.region))


def up_and_tell(file: str, *, as_json: bool) -> None:
    """Send what is not there yet, each request told as it is sent."""
    with told():
        from bootstrap.deploy.plan import all_requests, remarks, up

        screen = Screen(as_json=as_json)
        names, account = open_names(file)
        description = names.description
        with screen.working("making what is uploaded"):
            uploads = find_uploads(description, Path(file).parent, make=True)
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
            {"account": account.number, "region": description.region, "requests": requests}
            | _made(account)
        )
        return
    for note in remarks(description):
        screen.line(f"note: {note}")
    screen.line(summary_line(done, account.number, description.region, done=True))
    for name, value in _made(account).items():
        screen.line(f"{name}: {value}")


def open_account(description: Description) -> Account:
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


def _nobody(description: Description) -> Names:
    from bootstrap.config.names import NO_ACCOUNT, Names

    return Names(description, description.account or NO_ACCOUNT)


def _to_be_made(file: str) -> str:
    if Path(file).exists():
        return "holds another Pomona, or other versions of its packages: `up` makes it anew first"
    return "`up` makes it first"


def _made(account: Account) -> dict[str, str]:
    """What the user may want to name later on."""
    told = {"cluster.JobFlowId": "cluster", "application.applicationId": "application"}
    return {name: account.values[key] for key, name in told.items() if key in account.values}
