"""Tests for `bootstrap.deploy.overrides`: changed settings, scaling limits, and the configuration of a request."""

from __future__ import annotations

import copy

import pytest

from bootstrap.aws.nodes import node_count, nodes_of
from bootstrap.aws.request import Parameters
from bootstrap.aws.validation import validation_errors
from bootstrap.config.loader import parse_config
from bootstrap.deploy.overrides import (
    OVERRIDES,
    apply_overrides,
    config_from_request,
)
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.uploads import UploadLocations
from support.aws.cluster_configs import VARIANTS, names

SETTINGS = 'instances = {core = 3, task = 2, type = "m6i.2xlarge", disk_gb = 100}\nlimits = {nodes = 9, core = 4}\n'
FLEETS = VARIANTS["fleets"]


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


@pytest.mark.parametrize("more", [SETTINGS, VARIANTS["fleets"]], ids=["groups", "fleets"])
@pytest.mark.parametrize("key", OVERRIDES)
def test_override_does_not_modify_original_request(key: str, more: str) -> None:
    original = request(more)
    before = copy.deepcopy(original)
    values = {"name": "other", "instances.type": "m5.large", "network.ssh_key": "mine"}
    values["instances.types"] = '["m5.large", "m6i.large"]'
    values["instances.task_on_demand"] = "2"
    value = values.get(key, "50")
    if more == SETTINGS and key in ("instances.types", "instances.task_on_demand"):
        with pytest.raises(CloudError, match="the cluster has instance groups"):
            apply_overrides(original, {key: value})
    else:
        assert apply_overrides(original, {key: value}) != before
    assert original == before


def test_nodes_and_types_of_fleets() -> None:
    original = request(FLEETS)
    config = config_from_request(parse_config(b'name = "other"\nregion = "eu-west-1"\n'), original)
    assert config.instance_types == ("m5.xlarge", "m6i.xlarge")
    assert (config.instances.core, config.instances.task, config.limits.nodes) == (2, 3, 8)
    assert config.instances.disk_gb == 64
    for settings, expected in (
        ({"instances.task": "5"}, [(1, 0), (2, 0), (1, 4)]),
        ({"instances.task": "1"}, [(1, 0), (2, 0), (1, 0)]),
        ({"instances.task": "0"}, [(1, 0), (2, 0)]),
        ({"instances.core": "4"}, [(1, 0), (4, 0), (1, 2)]),
        ({"instances.task_on_demand": "3"}, [(1, 0), (2, 0), (3, 0)]),
    ):
        changed = apply_overrides(original, settings)
        assert [(one.on_demand, one.spot) for one in nodes_of(changed)] == expected
        assert validation_errors("emr", "run_job_flow", changed) == ""
    with pytest.raises(CloudError, match="task_on_demand is 4; it must be 0 to 3"):
        apply_overrides(original, {"instances.task_on_demand": "4"})
    changed = apply_overrides(original, {"instances.types": '["c6i.xlarge", "c7i.xlarge"]'})
    assert {one.types for one in nodes_of(changed)} == {("c6i.xlarge", "c7i.xlarge")}
    changed = apply_overrides(original, {"instances.type": "c6i.xlarge", "instances.disk_gb": "99"})
    assert {one.types for one in nodes_of(changed)} == {("c6i.xlarge",)}
    assert config_from_request(config, changed).instances.disk_gb == 99


def test_limit_of_on_demand_nodes_is_raised() -> None:
    changed = apply_overrides(request(FLEETS), {"instances.task_on_demand": "3"})
    assert limits(changed)["MaximumOnDemandCapacityUnits"] == 5
    assert limits(changed)["MaximumCoreCapacityUnits"] == 2
    changed = apply_overrides(request(FLEETS), {"limits.on_demand": "7"})
    assert limits(changed)["MaximumOnDemandCapacityUnits"] == 7


def test_task_fleet_is_added_like_core_fleet() -> None:
    without = apply_overrides(request(FLEETS), {"instances.task": "0"})
    added = apply_overrides(without, {"instances.task": "4"})
    *_, core, task = added["Instances"]["InstanceFleets"]
    assert task["InstanceTypeConfigs"] == core["InstanceTypeConfigs"]
    assert (task["TargetOnDemandCapacity"], task["TargetSpotCapacity"]) == (0, 4)
    assert (
        task["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    )


def test_instance_count_by_role() -> None:
    assert [node_count(request(), role) for role in ("MASTER", "CORE", "TASK")] == [1, 3, 2]


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
