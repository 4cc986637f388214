"""Plan and send the requests of `pomona cloud up` for resources that are not in a stack, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bootstrap.aws.client import Account
from bootstrap.aws.nodes import describe_nodes, nodes_of
from bootstrap.aws.request import (
    Parameters,
    Request,
    differences,
    has_references,
    resolve_references,
)
from bootstrap.aws.validation import validate_requests
from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import CloudError, UnresolvedReferenceError
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.network import network_requests
from bootstrap.resources.schedule import schedule_requests
from bootstrap.resources.serverless import serverless_requests
from bootstrap.resources.service_linked_roles import service_linked_role_requests
from bootstrap.resources.uploads import Uploads, upload_requests

# Operations that start nodes or jobs.
_BILLED = {"run_job_flow", "start_job_run"}


class Action(StrEnum):
    """Action planned for a request."""

    SEND = "send"
    CHANGE = "change"
    KEEP = "keep"
    READ = "read"
    DIFFERS = "differs"  # and cannot be changed in place


@dataclass(frozen=True)
class PlannedRequest:
    """A request and its planned action in an account.

    Parameters
    ----------
    request : Request
    action : Action
    operation : str
        Operation to send: that of the request, or one that updates the existing resource.
    parameters : dict
        Parameters with the known ``${…}`` references replaced.
    differences : list of str
        Current and desired values, a line each.
    """

    request: Request
    action: Action
    operation: str
    parameters: Parameters
    differences: list[str] = field(default_factory=list)


def requests_before_stack(names: Names) -> list[Request]:
    """Return the requests for what the stacks and the cluster need, and no stack can contain."""
    network = [] if names.config.mode == "serverless" else network_requests(names)
    return [*service_linked_role_requests(names), *network]


def requests_after_stack(names: Names, uploads: Uploads) -> list[Request]:
    """Return the requests that upload files, and start the cluster or the job."""
    start = serverless_requests if names.config.mode == "serverless" else cluster_requests
    locations = uploads.locations(names)
    requests = [*upload_requests(names, uploads), *start(names, locations)]
    if names.config.stack:
        requests += schedule_requests(names, locations)
    return requests


def all_requests(names: Names, uploads: Uploads) -> list[Request]:
    """Return all requests of `up` in order, validated with the schedule, whose input is a request too."""
    requests = [*requests_before_stack(names), *requests_after_stack(names, uploads)]
    scheduled = [] if names.config.stack else schedule_requests(names, uploads.locations(names))
    validate_requests([*requests, *scheduled])
    return requests


def plan_notes(config: ClusterConfig) -> list[str]:
    """Return notes on consequences of the configuration that the plan does not show."""
    notes = []
    if config.mode == "cluster" and config.is_streaming:
        notes.append(
            "no auto-termination: a cluster with a streaming step is never idle; "
            "`pomona cloud down` terminates it"
        )
    if config.mode == "serverless" and config.is_streaming:
        notes.append(
            "limits.idle_minutes has no effect: an application with a streaming job is never idle"
        )
    if config.mode == "serverless" and config.is_streaming and config.has_alarms:
        notes.append(
            "no alarms for a stalled stream and a large backlog: jobs of EMR Serverless without a VPC do not reach "
            "CloudWatch; failed jobs and failed starts of refits are reported"
        )
    if config.mode == "serverless" and config.subnets:
        notes.append("[network] has no effect: the jobs of EMR Serverless run outside of your VPC")
    if config.mode == "cluster" and config.release == "emr-spark-8.0.0":
        notes.append(
            "emr-spark-8.0.0 has no JupyterHub: JupyterEnterpriseGateway and Livy replace it, "
            "and notebooks are not uploaded"
        )
    if config.schedule is None:
        notes.append("no schedule: [refit] schedule is never, or is missing with ingest.mode once")
    return notes


def plan(requests: list[Request], account: Account | None) -> Iterator[PlannedRequest]:
    """Plan each request; sends only read-only requests.

    Parameters
    ----------
    requests : list of Request
    account : Account or None
        None: plan for an empty account.

    Raises
    ------
    CloudError
        If the account cannot be read, or an existing resource conflicts.
    """
    for request in requests:
        if account is None:
            action = Action.READ if request.read_only else Action.SEND
            yield PlannedRequest(request, action, request.operation, request.parameters)
        else:
            yield plan_request(request, account)


def billed_starts(requests: list[Request], account: Account) -> list[str]:
    """Return descriptions of the nodes and jobs that the requests would start; sends only read-only requests."""
    starts = []
    for request in requests:
        if request.operation in _BILLED:
            planned = plan_request(request, account)
            if planned.action is Action.SEND:
                starts.append(
                    f"{request.name} on EMR Serverless"
                    if request.operation == "start_job_run"
                    else describe_start(request.parameters)
                )
    return starts


def describe_start(parameters: Parameters) -> str:
    """Describe the nodes that a RunJobFlow request starts."""
    return f"cluster {parameters['Name']}: {describe_nodes(nodes_of(parameters))}"


def plan_request(request: Request, account: Account) -> PlannedRequest:
    """Plan one request; values of the existing resource are stored for later requests."""
    try:
        existing = request.find_current(account.read)
    except UnresolvedReferenceError:
        existing = None
    parameters = resolve_references(request.parameters, account.values)
    if existing is None:
        return PlannedRequest(request, Action.SEND, request.operation, parameters)
    account.values.update(existing.values)
    if request.read_only:
        return PlannedRequest(request, Action.READ, request.operation, parameters)
    current = resolve_references(existing.current, account.values)
    lines = differences(current, resolve_references(request.desired, account.values))
    if not lines:
        return PlannedRequest(request, Action.KEEP, request.operation, parameters)
    update = request.build_update and request.build_update(parameters, existing)
    if not update:
        return PlannedRequest(request, Action.DIFFERS, request.operation, parameters, lines)
    operation, changed = update
    return PlannedRequest(request, Action.CHANGE, operation, changed, lines)


def up(requests: list[Request], account: Account) -> Iterator[PlannedRequest]:
    """Send the requests that are needed, one after the other. After an interruption, another run resumes.

    Parameters
    ----------
    requests : list of Request
    account : Account

    Yields
    ------
    PlannedRequest
        After the request was sent.

    Raises
    ------
    CloudError
        If AWS rejects a request.
    """
    for request in requests:
        planned = plan_request(request, account)
        if planned.action in (Action.SEND, Action.CHANGE):
            if has_references(planned.parameters):
                raise CloudError(f"{request.name}: refers to a resource that does not exist")
            response = account.send(
                request.service, planned.operation, planned.parameters, request.retry_on
            )
            if planned.action == Action.SEND:
                account.values.update(request.outputs(response))
        yield planned
