"""Tests for the plan: every request in order, valid by botocore's own models, and nothing hangs in the air."""

from __future__ import annotations

import json
import re
from pathlib import Path

import botocore.session
import botocore.validate
import pytest

from bootstrap.aws.request import LocalFile, Request
from bootstrap.deploy.plan import Action, all_requests, plan, plan_notes
from support.cluster_configs import VARIANTS, names, uploads


def requests(kind: str, folder: Path) -> list[Request]:
    return all_requests(names(VARIANTS[kind]), uploads(folder))


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_request_is_valid_by_botocores_own_model(kind: str, tmp_path: Path) -> None:
    session = botocore.session.get_session()
    for request in requests(kind, tmp_path):
        model = session.get_service_model(request.service)
        (name,) = [n for n in model.operation_names if botocore.xform_name(n) == request.operation]
        operation = model.operation_model(name)
        told = {k: b"" if isinstance(v, LocalFile) else v for k, v in request.parameters.items()}
        told |= {name: "token" for name in operation.idempotent_members if name not in told}
        botocore.validate.validate_parameters(told, operation.input_shape)


@pytest.mark.parametrize("kind", VARIANTS)
def test_what_a_request_hangs_on_is_made_by_one_before_it(kind: str, tmp_path: Path) -> None:
    known = set[str]()
    for request in requests(kind, tmp_path):
        told = json.dumps(request.parameters, default=str)
        assert set(re.findall(r"\$\{(\w+)\.\w+\}", told)) <= known, request.name
        known.add(request.name.rpartition("-")[2].split(":")[0])
    assert "subnet" in known or kind.startswith("serverless")


@pytest.mark.parametrize("kind", VARIANTS)
def test_requests_have_names_and_reasons_of_one_line(kind: str, tmp_path: Path) -> None:
    found = requests(kind, tmp_path)
    assert len({request.name for request in found}) == len(found)
    for request in found:
        assert request.purpose
        assert "\n" not in request.purpose + request.name


def test_buckets_come_first_and_what_uses_roles_comes_after_them(tmp_path: Path) -> None:
    order = [request.operation for request in requests("stream", tmp_path)]
    first = {operation: order.index(operation) for operation in order}
    assert order[0] == "create_bucket"
    ordered = ["create_bucket", "put_object", "create_role", "create_security_group"]
    ordered += ["run_job_flow", "add_job_flow_steps", "create_schedule"]
    assert [first[one] for one in ordered] == sorted(first[one] for one in ordered)
    assert order.index("put_bucket_policy") < first["put_object"]


def test_an_empty_account_needs_all_of_it(tmp_path: Path) -> None:
    planned = list(plan(requests("stream", tmp_path), None))
    assert {one.action for one in planned} == {Action.SEND, Action.READ, Action.KEEP}
    (kept,) = [one.request.operation for one in planned if one.action == Action.KEEP]
    assert kept == "revoke_security_group_ingress"  # there is nothing to take away


def test_the_plan_says_why_auto_termination_is_left_out(tmp_path: Path) -> None:
    told = " ".join(plan_notes(names().config))
    assert "no auto-termination" in told
    (cluster,) = [r for r in requests("stream", tmp_path) if r.operation == "run_job_flow"]
    assert "AutoTerminationPolicy" not in cluster.parameters
    assert "no auto-termination" not in " ".join(plan_notes(names(VARIANTS["once"]).config))


def test_the_plan_says_what_takes_jupyterhubs_place() -> None:
    told = plan_notes(names('release = "emr-spark-8.0.0"').config)
    assert any("no JupyterHub: JupyterEnterpriseGateway" in one for one in told)
    assert not any("JupyterHub" in one for one in plan_notes(names().config))
