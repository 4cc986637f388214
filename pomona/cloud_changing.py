"""`pomona cloud clone` and `resize`: another cluster like one that there is, or that one with more or fewer nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pomona.cloud import open_account, told
from pomona.cloud_estimate import LoadWords, compared, compared_lines
from pomona.cloud_telling import readable, request_lines
from pomona.output.console import Screen
from streaming.errors import AccountError, UsageError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.aws.request import Parameters
    from bootstrap.config.schema import Description


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as they are typed.

    Raises
    ------
    UsageError
        For a word without both.
    """
    made = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--set {word}: write KEY=VALUE, such as instances.core=4")
        made[key.strip()] = value.strip()
    return made


def clone_and_tell(
    file: str,
    cluster: str,
    settings: Mapping[str, str],
    how: tuple[bool, bool],
    *,
    load: LoadWords | None = None,
    as_json: bool,
) -> None:
    """Make a cluster like another, with changes; tell the difference first.

    Parameters
    ----------
    file : str
        The description, which says in which account and region the cluster is.
    cluster : str
        Name or id.
    settings : dict of str
    how : (bool, bool)
        Whether to send nothing, and whether to begin with the steps that are not over in the other.
    load : LoadWords or None
        What is estimated before and after; None: nothing is.
    as_json : bool
    """
    dry, with_steps = how
    with told():
        from bootstrap.deploy.clone import clone

        screen, (description, account) = Screen(as_json=as_json), _open(file)
        made = clone(account.ask, cluster, settings, with_steps=with_steps)
        found = _estimated(load, description, made.before, made.request) if load else None
        old = made.cluster["Id"]
        screen.line(f"{old} ({made.cluster['Name']}) -> a new cluster:")
        for line in made.differences or ["nothing else is different"]:
            screen.line(f"    {line}")
        if load and not as_json:
            for line in compared_lines(found):
                screen.line(line)
        new = None
        if not dry:
            answer = account.send("emr", "run_job_flow", made.request)
            new = str(answer["JobFlowId"])
    if as_json:
        answer = {"cluster": old, "differences": made.differences, "made": new}
        estimate = {"estimate": found} if load else {}
        screen.show(answer | {"request": readable(made.request)} | estimate)
    elif new:
        screen.line(f"cluster: {new}")
        screen.line(f"{old} runs on; `pomona cloud up` gives {new} its ingestion and its schedule")
        if with_steps:
            screen.line("a lake has one writer: the new one's ingestion waits for the other's end")
    else:
        screen.line("nothing was sent")


def resize_and_tell(
    file: str,
    cluster: str,
    settings: Mapping[str, str],
    load: LoadWords,
    *,
    dry: bool,
    as_json: bool,
) -> None:
    """Give a cluster other numbers of nodes where it stands; tell what a load takes before and after."""
    with told():
        from bootstrap.deploy.clone import resize

        screen, (description, account) = Screen(as_json=as_json), _open(file)
        made = resize(account.ask, cluster, settings)
        found = _estimated(load, description, made.before, made.after)
        for operation, parameters in made.operations:
            for line in request_lines("emr", operation, parameters):
                screen.line(line)
        if not made.operations:
            screen.line(f"{cluster}: is of that size already")
        if not as_json and (made.operations or found):
            for line in compared_lines(found):
                screen.line(line)
        for operation, parameters in made.operations if not dry else ():
            account.send("emr", operation, parameters)
    if as_json:
        told_ = [{"operation": name, "parameters": words} for name, words in made.operations]
        screen.show({"cluster": cluster, "sent": not dry, "requests": told_, "estimate": found})
    elif dry and made.operations:
        screen.line("nothing was sent")


def _estimated(
    load: LoadWords, description: Description, before: Parameters, after: Parameters
) -> dict[str, Any] | None:
    """What a load comes to on the cluster of one request and on that of another."""
    from bootstrap.deploy.overrides import sized

    return compared(load, sized(description, before), sized(description, after))


def _open(file: str) -> tuple[Description, Account]:
    """A description of nodes, and the account that they are in."""
    from bootstrap.config.loader import read_description

    description = read_description(file)
    if description.mode == "serverless":
        raise AccountError(
            f'{file}: mode is "serverless", which has no nodes to be more, fewer or other ones: '
            "EMR Serverless scales by itself, up to [limits] nodes"
        )
    return description, open_account(description)
