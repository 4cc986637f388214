"""Tests for what can be changed of a cluster: the limits follow, and an estimate takes the nodes that it has."""

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
from support.cluster_configs import names

ASKED = 'instances = {core = 3, task = 2, type = "m6i.2xlarge", disk_gb = 100}\nlimits = {nodes = 9, core = 4}\n'


def request(more: str = ASKED) -> Parameters:
    described = names(more)
    return run_job_flow(described, UploadLocations(described, "v1"))


def limits(made: Parameters) -> dict[str, object]:
    found: dict[str, object] = made["ManagedScalingPolicy"]["ComputeLimits"]
    return found


def test_what_a_description_asked_for_is_found_in_its_request_again() -> None:
    found = config_from_request(parse_config(b'name = "other"\nregion = "eu-west-1"\n'), request())
    wanted = names(ASKED).config
    assert found.instances == wanted.instances
    assert found.limits.nodes == wanted.limits.nodes
    assert found.name == "other"


def test_without_limits_in_nodes_a_cluster_does_not_grow() -> None:
    made = request()
    limits(made)["UnitType"] = "VCPU"
    limits(made)["MaximumCapacityUnits"] = 400
    assert config_from_request(names().config, made).limits.nodes == 5
    del made["ManagedScalingPolicy"]
    assert config_from_request(names().config, made).limits.nodes == 5


def test_a_cluster_of_a_primary_node_alone_has_its_type() -> None:
    made = request()
    made["Instances"]["InstanceGroups"] = made["Instances"]["InstanceGroups"][:1]
    del made["Instances"]["InstanceGroups"][0]["EbsConfiguration"]
    instances = config_from_request(names().config, made).instances
    assert (instances.type, instances.core, instances.task, instances.disk_gb) == ("m6i.2xlarge", 0, 0, 0)  # fmt: skip
    with pytest.raises(CloudError, match="has no core nodes"):
        apply_overrides(made, {"instances.core": "3"})


def test_the_limits_follow_and_those_that_are_not_there_stay_away() -> None:
    made = request()
    assert limits(apply_overrides(made, {"instances.core": "12"})) == {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 12,
        "MaximumCapacityUnits": 14,
        "MaximumOnDemandCapacityUnits": 12,
        "MaximumCoreCapacityUnits": 12,
    }
    for key in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        del limits(made)[key]
    assert set(limits(apply_overrides(made, {"instances.core": "4"}))) == set(limits(made))
    assert set(limits(apply_overrides(made, {"instances.type": "m5.xlarge"}))) == set(limits(made))


@pytest.mark.parametrize("key", OVERRIDES)
def test_a_change_leaves_the_request_that_it_was_made_of(key: str) -> None:
    made = request()
    before = copy.deepcopy(made)
    value = {"name": "other", "instances.type": "m5.large", "network.ssh_key": "mine"}.get(
        key, "50"
    )
    assert apply_overrides(made, {key: value}) != before
    assert made == before


def test_nodes_are_counted_by_their_role() -> None:
    assert [instance_count(request(), role) for role in ("MASTER", "CORE", "TASK")] == [1, 3, 2]
