"""All requests of `pomona cloud up` in order, and what each of them still has to do in an account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bootstrap.aws.client import Account
from bootstrap.aws.request import (
    Parameters,
    Request,
    differences,
    has_references,
    resolve_references,
)
from bootstrap.aws.validation import validate_request
from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import CloudError, UnresolvedReferenceError
from bootstrap.resources.buckets import bucket_requests
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.iam_roles import role_requests, scheduler_requests
from bootstrap.resources.network import network_requests
from bootstrap.resources.schedule import schedule_requests
from bootstrap.resources.serverless import serverless_requests
from bootstrap.resources.uploads import UploadLocations, Uploads, upload_requests


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
    locations = UploadLocations(names, uploads.version)
    serverless = names.config.mode == "serverless"
    requests = [*bucket_requests(names), *upload_requests(names, uploads), *role_requests(names)]
    if serverless:
        requests += serverless_requests(names, locations)
    else:
        requests += [*network_requests(names), *cluster_requests(names, locations)]
    if names.config.schedule:
        requests += [*scheduler_requests(names), *schedule_requests(names, locations)]
    for request in requests:
        validate_request(request)
    return requests


def plan_notes(config: ClusterConfig) -> list[str]:
    """What a reader of the plan might miss, or miss it being done."""
    notes = []
    if config.mode == "cluster" and config.is_streaming:
        notes.append(
            "no auto-termination: with an endless step the cluster is never idle; "
            "`pomona cloud down` ends it"
        )
    if config.mode == "serverless" and config.is_streaming:
        notes.append(
            "limits.idle_minutes never acts: with an endless job the application is never idle"
        )
    if config.mode == "cluster" and config.release == "emr-spark-8.0.0":
        notes.append(
            "emr-spark-8.0.0 has no JupyterHub: JupyterEnterpriseGateway and Livy take its place, "
            "and notebooks are not uploaded"
        )
    if config.schedule is None:
        notes.append("no schedule: [refit] schedule says never, or nothing beside ingest.mode once")
    return notes


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
            action = Action.READ if request.read_only else Action.SEND
            if request.desired == []:  # takes something away, and there is nothing
                action = Action.KEEP
            yield Planned(request, action, request.operation, request.parameters)
        else:
            yield plan_request(request, account)


def plan_request(request: Request, account: Account) -> Planned:
    """What one request comes to in an account; what it finds is noted there for those that follow."""
    try:
        found = request.find_current(account.read)
    except UnresolvedReferenceError:
        found = None
    parameters = resolve_references(request.parameters, account.values)
    if found is None:
        return Planned(request, Action.SEND, request.operation, parameters)
    account.values.update(found.values)
    if request.read_only:
        return Planned(request, Action.READ, request.operation, parameters)
    current = resolve_references(found.current, account.values)
    lines = differences(current, resolve_references(request.desired, account.values))
    if not lines:
        return Planned(request, Action.KEEP, request.operation, parameters)
    build_update = request.build_update and request.build_update(parameters, found)
    if not build_update:
        return Planned(request, Action.DIFFERS, request.operation, parameters, lines)
    operation, changed = build_update
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
        planned = plan_request(request, account)
        if planned.action in (Action.SEND, Action.CHANGE):
            if has_references(planned.parameters):
                raise CloudError(f"{request.name}: hangs on something that is not there")
            answer = account.send(
                request.service, planned.operation, planned.parameters, request.retry_codes
            )
            if planned.action == Action.SEND:
                account.values.update(request.outputs(answer))
        yield planned
