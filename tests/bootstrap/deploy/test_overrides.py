"""Tests for `bootstrap.deploy.overrides`: changed settings, scaling limits, and the configuration of a request."""

from __future__ import annotations

import copy

import pytest

from bootstrap.aws.request import Parameters
from bootstrap.config.loader import parse_config
from bootstrap.deploy.overrides import (
    OVERRIDES,
    apply_overrides,
    config_from_request,
    instance_count,
)
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.uploads import UploadLocations
from support.aws.cluster_configs import names

SETTINGS = 'instances = {core = 3, task = 2, type = "m6i.2xlarge", disk_gb = 100}\nlimits = {nodes = 9, core = 4}\n'


def request(more: str = SETTINGS) -> Parameters:
    config_names = names(more)
    return run_job_flow(config_names, UploadLocations(config_names, "v1"))


def limits(request: Parameters) -> dict[str, object]:
    result: dict[str, object] = request["ManagedScalingPolicy"]["ComputeLimits"]
    return result


def test_config_from_request_has_nodes_and_limits_of_request() -> None:
    config = config_from_request(parse_config(b'name = "other"\nregion = "eu-west-1"\n'), request())
    expected = names(SETTINGS).config
    assert config.instances == expected.instances
    assert config.limits.nodes == expected.limits.nodes
    assert config.name == "other"


def test_limit_not_in_instances_is_replaced_by_node_count() -> None:
    original = request()
    limits(original)["UnitType"] = "VCPU"
    limits(original)["MaximumCapacityUnits"] = 400
    assert config_from_request(names().config, original).limits.nodes == 5
    del original["ManagedScalingPolicy"]
    assert config_from_request(names().config, original).limits.nodes == 5


def test_cluster_with_only_primary_node_has_no_core_nodes() -> None:
    original = request()
    original["Instances"]["InstanceGroups"] = original["Instances"]["InstanceGroups"][:1]
    del original["Instances"]["InstanceGroups"][0]["EbsConfiguration"]
    instances = config_from_request(names().config, original).instances
    assert (instances.type, instances.core, instances.task, instances.disk_gb) == ("m6i.2xlarge", 0, 0, 0)  # fmt: skip
    with pytest.raises(CloudError, match="has no core nodes"):
        apply_overrides(original, {"instances.core": "3"})


def test_limits_are_raised_and_missing_limits_stay_missing() -> None:
    original = request()
    assert limits(apply_overrides(original, {"instances.core": "12"})) == {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 12,
        "MaximumCapacityUnits": 14,
        "MaximumOnDemandCapacityUnits": 12,
        "MaximumCoreCapacityUnits": 12,
    }
    for key in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        del limits(original)[key]
    assert set(limits(apply_overrides(original, {"instances.core": "4"}))) == set(limits(original))
    assert set(limits(apply_overrides(original, {"instances.type": "m5.xlarge"}))) == set(
        limits(original)
    )


@pytest.mark.parametrize("key", OVERRIDES)
def test_override_does_not_modify_original_request(key: str) -> None:
    original = request()
    before = copy.deepcopy(original)
    value = {"name": "other", "instances.type": "m5.large", "network.ssh_key": "mine"}.get(
        key, "50"
    )
    assert apply_overrides(original, {key: value}) != before
    assert original == before


def test_instance_count_by_role() -> None:
    assert [instance_count(request(), role) for role in ("MASTER", "CORE", "TASK")] == [1, 3, 2]


def test_task_group_is_added_like_core_group_and_removed_without_nodes() -> None:
    without = apply_overrides(request(), {"instances.task": "0"})
    assert [one["InstanceRole"] for one in without["Instances"]["InstanceGroups"]] == [
        "MASTER",
        "CORE",
    ]
    _, core = without["Instances"]["InstanceGroups"]
    core["BidPrice"] = "0.1"
    added = apply_overrides(without, {"instances.task": "4", "instances.type": "m6i.xlarge"})
    *_, task = added["Instances"]["InstanceGroups"]
    expected = {"Name": "task", "InstanceRole": "TASK", "InstanceCount": 4, "Market": "SPOT"}
    assert {key: task[key] for key in expected} == expected
    assert "BidPrice" not in task
    assert (task["InstanceType"], core["InstanceType"]) == ("m6i.xlarge", "m6i.2xlarge")
    assert task["EbsConfiguration"] == core["EbsConfiguration"]
