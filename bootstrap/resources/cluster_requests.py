"""The requests that create the cluster and add its steps, each with a check for what exists."""

from __future__ import annotations

import json

from bootstrap.aws.describe_cluster import comparable, described_request, find_cluster, tags_of
from bootstrap.aws.request import Ask, Found, Parameters, Request
from bootstrap.config.names import Names
from bootstrap.resources.cluster import MADE_BY, request_hash, run_job_flow
from bootstrap.resources.steps import ingest_step, refit_step
from bootstrap.resources.uploads import Places

_IMDS = {
    "InstanceMetadataServiceConfiguration": {
        "MinimumInstanceMetadataServiceVersion": 2,
        "HttpPutResponseHopLimit": 1,
    }
}


def cluster_requests(names: Names, places: Places) -> list[Request]:
    """Requests for the metadata service's version, the cluster and its steps."""
    steps = [ingest_step(names, places)]
    if not names.description.endless:
        steps.append(refit_step(names, places))
    return [
        _metadata_service(names),
        _cluster(names, run_job_flow(names, places)),
        *(_add_step(names, step) for step in steps),
    ]


def _metadata_service(names: Names) -> Request:
    name = names.of("imdsv2")

    def look(ask: Ask) -> Found | None:
        asked, gone = {"Name": name}, ("InvalidRequestException",)
        answer = ask("emr", "describe_security_configuration", asked, gone)
        return Found(json.loads(answer["SecurityConfiguration"])) if answer else None

    return Request(
        name=f"security configuration {name}",
        service="emr",
        operation="create_security_configuration",
        parameters={"Name": name, "SecurityConfiguration": json.dumps(_IMDS)},
        why="nodes answer for their role by version 2 of the metadata service alone",
        look=look,
        wanted=_IMDS,
    )


def _cluster(names: Names, request: Parameters) -> Request:
    def look(ask: Ask) -> Found | None:
        found = find_cluster(ask, names.description.name)
        if found is None:
            return None
        same = tags_of(found).get(MADE_BY) == request_hash(request)
        standing = request if same else described_request(ask, found)
        return Found(comparable(standing), {"cluster.JobFlowId": found["Id"]})

    return Request(
        name="cluster",
        service="emr",
        operation="run_job_flow",
        parameters=request,
        why="one primary node, core nodes on demand, Spot beyond that",
        look=look,
        wanted=comparable(request),
        made=lambda answer: {"cluster.JobFlowId": answer["JobFlowId"]},
        patient=("ValidationException",),
    )


def _add_step(names: Names, step: Parameters) -> Request:
    endless = names.description.endless
    states = ["PENDING", "RUNNING"] + ([] if endless else ["COMPLETED"])

    def look(ask: Ask) -> Found | None:
        asked = {"ClusterId": "${cluster.JobFlowId}", "StepStates": states}
        answer = ask("emr", "list_steps", asked) or {}
        found = [one for one in answer["Steps"] if one["Name"] == step["Name"]]
        return Found(list(found[0]["Config"]["Args"])) if found else None

    again = "YARN starts it again when it fails" if endless else "takes what is there, and ends"
    return Request(
        name=f"step {step['Name']}",
        service="emr",
        operation="add_job_flow_steps",
        parameters={"JobFlowId": "${cluster.JobFlowId}", "Steps": [step]},
        why=again if step["Name"].endswith("ingest") else "after the ingestion",
        look=look,
        wanted=step["HadoopJarStep"]["Args"],
    )
