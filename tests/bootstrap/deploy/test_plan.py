"""Tests for `bootstrap.deploy.plan`: valid requests, each after the requests that it refers to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest

from bootstrap.aws.request import LocalFile, Request
from bootstrap.deploy.deployment import REFIT_INPUT, later_parameters, refit_input
from bootstrap.deploy.plan import Action, all_requests, plan, plan_notes
from bootstrap.errors import CloudError
from support.aws.cluster_configs import VARIANTS, names, uploads


def requests(variant: str, folder: Path) -> list[Request]:
    return all_requests(names(VARIANTS[variant]), uploads(folder))


@pytest.fixture(scope="module")
def session() -> Any:
    """A session of botocore; it parses the model of each service once."""
    return botocore.session.get_session()


@pytest.mark.parametrize("variant", VARIANTS)
def test_requests_are_valid_for_botocore_models(variant: str, session: Any, tmp_path: Path) -> None:
    for request in requests(variant, tmp_path):
        model = session.get_service_model(request.service)
        (name,) = [n for n in model.operation_names if botocore.xform_name(n) == request.operation]
        operation = model.operation_model(name)
        values = {k: b"" if isinstance(v, LocalFile) else v for k, v in request.parameters.items()}
        values |= {n: "token" for n in operation.idempotent_members if n not in values}
        botocore.validate.validate_parameters(values, operation.input_shape)


@pytest.mark.parametrize("variant", VARIANTS)
def test_references_point_to_earlier_requests(variant: str, tmp_path: Path) -> None:
    earlier = set[str]()
    for request in requests(variant, tmp_path):
        text = json.dumps(request.parameters, default=str)
        outputs = {"primary", "workers", "tunnel", "service", "application"}
        assert set(re.findall(r"\$\{(\w+)\.\w+\}", text)) <= earlier | outputs, request.name
        earlier.add(request.name.rpartition("-")[2].split(":")[0])
    assert "subnet" in earlier or variant.startswith("serverless")


@pytest.mark.parametrize("variant", VARIANTS)
def test_requests_have_unique_name_and_purpose(variant: str, tmp_path: Path) -> None:
    planned = requests(variant, tmp_path)
    assert len({request.name for request in planned}) == len(planned)
    for request in planned:
        assert request.purpose
        assert "\n" not in request.purpose + request.name


def test_requests_are_ordered_by_dependency(tmp_path: Path) -> None:
    order = [request.operation for request in requests("stream", tmp_path)]
    first = {operation: order.index(operation) for operation in order}
    ordered = ["create_service_linked_role", "create_tags", "put_object", "run_job_flow"]
    ordered += ["add_job_flow_steps"]
    assert [first[one] for one in ordered] == sorted(first[one] for one in ordered)


@pytest.mark.parametrize("variant", VARIANTS)
def test_requests_create_nothing_that_the_templates_contain(variant: str, tmp_path: Path) -> None:
    sent = {one.operation for one in requests(variant, tmp_path) if not one.read_only}
    assert sent <= {
        *("create_service_linked_role", "create_tags", "put_object"),
        *("run_job_flow", "add_job_flow_steps", "start_job_run"),
    }


def test_plan_for_empty_account_sends_all_requests(tmp_path: Path) -> None:
    planned = list(plan(requests("stream", tmp_path), None))
    assert {one.action for one in planned} == {Action.SEND, Action.READ}


def test_notes_explain_missing_auto_termination(tmp_path: Path) -> None:
    notes = " ".join(plan_notes(names().config))
    assert "no auto-termination" in notes
    (cluster,) = [r for r in requests("stream", tmp_path) if r.operation == "run_job_flow"]
    assert "AutoTerminationPolicy" not in cluster.parameters
    assert "no auto-termination" not in " ".join(plan_notes(names(VARIANTS["once"]).config))


def test_notes_name_what_has_no_effect_on_emr_serverless() -> None:
    more = 'alarms.address = "ops@example.com"\nnetwork.subnet = "subnet-0123456789abcdef0"\n'
    serverless, cluster = (
        " ".join(plan_notes(names(f'mode = "{mode}"\n{more}').config))
        for mode in ("serverless", "cluster")
    )
    for expected in ("no alarms for a stalled stream", "[network] has no effect"):
        assert expected in serverless
        assert expected not in cluster


def test_notes_name_replacement_of_jupyterhub() -> None:
    notes = plan_notes(names('release = "emr-spark-8.0.0"').config)
    assert any("no JupyterHub: JupyterEnterpriseGateway" in note for note in notes)
    assert not any("JupyterHub" in note for note in plan_notes(names().config))


def test_input_of_the_schedule_is_split_into_parameters_or_rejected(tmp_path: Path) -> None:
    names_of_groups = ("primary", "workers", "tunnel")
    groups = {f"{name}.GroupId": "sg-0123456789abcdef0" for name in names_of_groups}
    groups["subnet.SubnetId"] = "subnet-0123456789abcdef0"

    def parameters(number: int) -> tuple[str, dict[str, str]]:
        types = json.dumps([f"m{one}.xlarge" for one in range(number)])
        config_names = names(VARIANTS["once"] + f"instances.types = {types}\n")
        locations = uploads(tmp_path).locations(config_names)
        text = refit_input(config_names, locations, groups)
        assert text
        return text, later_parameters(config_names, text, {})

    text, result = parameters(11)
    values = [result[key] for key in REFIT_INPUT]
    assert "".join(values) == text
    assert max(map(len, values)) == 4096
    assert values[-1]
    with pytest.raises(
        CloudError, match=r"characters, and its parameters accept at most 12288: .* fewer"
    ):
        parameters(30)
