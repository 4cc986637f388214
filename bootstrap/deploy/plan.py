"""All requests of `pomona cloud up` in order, and what each of them still has to do in an account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bootstrap.aws.client import Account
from bootstrap.aws.request import Parameters, Request, differences, resolved, unresolved
from bootstrap.aws.validation import require_valid
from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import CloudError, UnknownYetError
from bootstrap.resources.buckets import bucket_requests
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.iam_roles import access_requests, scheduler_requests
from bootstrap.resources.network import network_requests
from bootstrap.resources.schedule import schedule_requests
from bootstrap.resources.serverless import serverless_requests
from bootstrap.resources.uploads import Places, Uploads, upload_requests


class Action(StrEnum):
    """What becomes of a request."""

    SEND = "send"
    CHANGE = "change"
    KEEP = "keep"
    READ = "read"
    DIFFERS = "differs"  # and cannot be changed where it stands


@dataclass(frozen=True)
class Planned:
    """A request, and what it comes to in an account.

    Parameters
    ----------
    request : Request
    action : Action
    operation : str
        What is sent: the request's own, or the one that changes what is there.
    parameters : dict
        With ``${…}`` filled in as far as it is known.
    differences : list of str
        What is there, and what is wanted.
    """

    request: Request
    action: Action
    operation: str
    parameters: Parameters
    differences: list[str] = field(default_factory=list)


def all_requests(names: Names, uploads: Uploads) -> list[Request]:
    """Every request of `up`, in its order, each valid by botocore's model of its service."""
    places = Places(names, uploads.version)
    serverless = names.description.mode == "serverless"
    requests = [*bucket_requests(names), *upload_requests(names, uploads), *access_requests(names)]
    if serverless:
        requests += serverless_requests(names, places)
    else:
        requests += [*network_requests(names), *cluster_requests(names, places)]
    if names.description.schedule:
        requests += [*scheduler_requests(names), *schedule_requests(names, places)]
    for request in requests:
        require_valid(request)
    return requests


def remarks(description: ClusterConfig) -> list[str]:
    """What a reader of the plan might miss, or miss it being done."""
    told = []
    if description.mode == "cluster" and description.endless:
        told.append(
            "no auto-termination: with an endless step the cluster is never idle; "
            "`pomona cloud down` ends it"
        )
    if description.mode == "serverless" and description.endless:
        told.append(
            "limits.idle_minutes never acts: with an endless job the application is never idle"
        )
    if description.mode == "cluster" and description.release == "emr-spark-8.0.0":
        told.append(
            "emr-spark-8.0.0 has no JupyterHub: JupyterEnterpriseGateway and Livy take its place, "
            "and notebooks are not uploaded"
        )
    if description.schedule is None:
        told.append("no schedule: [refit] schedule says never, or nothing beside ingest.mode once")
    return told


def plan(requests: list[Request], account: Account | None) -> Iterator[Planned]:
    """What each request would do; sends nothing that changes anything.

    Parameters
    ----------
    requests : list of Request
    account : Account or None
        None: an empty one.

    Raises
    ------
    CloudError
        Where the account does not answer, or something stands in the way.
    """
    for request in requests:
        if account is None:
            action = Action.READ if request.reads else Action.SEND
            if request.wanted == []:  # takes something away, and there is nothing
                action = Action.KEEP
            yield Planned(request, action, request.operation, request.parameters)
        else:
            yield look(request, account)


def look(request: Request, account: Account) -> Planned:
    """What one request comes to in an account; what it finds is noted there for those that follow."""
    try:
        found = request.look(account.ask)
    except UnknownYetError:
        found = None
    parameters = resolved(request.parameters, account.values)
    if found is None:
        return Planned(request, Action.SEND, request.operation, parameters)
    account.values.update(found.values)
    if request.reads:
        return Planned(request, Action.READ, request.operation, parameters)
    current = resolved(found.current, account.values)
    lines = differences(current, resolved(request.wanted, account.values))
    if not lines:
        return Planned(request, Action.KEEP, request.operation, parameters)
    change = request.change and request.change(parameters, found)
    if not change:
        return Planned(request, Action.DIFFERS, request.operation, parameters, lines)
    operation, changed = change
    return Planned(request, Action.CHANGE, operation, changed, lines)


def up(requests: list[Request], account: Account) -> Iterator[Planned]:
    """Do what is not done yet, one request after the other; what was interrupted goes on where it ended.

    Parameters
    ----------
    requests : list of Request
    account : Account

    Yields
    ------
    Planned
        After it is done.

    Raises
    ------
    CloudError
        Where AWS refuses; run again, it goes on from there.
    """
    for request in requests:
        planned = look(request, account)
        if planned.action in (Action.SEND, Action.CHANGE):
            if unresolved(planned.parameters):
                raise CloudError(f"{request.name}: hangs on something that is not there")
            answer = account.send(
                request.service, planned.operation, planned.parameters, request.patient
            )
            if planned.action == Action.SEND:
                account.values.update(request.made(answer))
        yield planned
