"""Tests for `bootstrap.resources.network`: routes and tags of the subnet."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.aws.request import Request
from bootstrap.errors import CloudError
from bootstrap.resources.network import isolated_subnets, network_requests
from support.aws.cluster_configs import VARIANTS, names


def requests_by_name(more: str = "") -> dict[str, Request]:
    return {request.name: request for request in network_requests(names(more))}


def test_subnet_and_vpc_of_private_subnet_have_emr_tag() -> None:
    tag = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}
    requests = requests_by_name(VARIANTS["private"])
    assert requests["subnet: tag"].parameters["Tags"] == [tag]
    assert requests["VPC: tag"].parameters == {"Resources": ["${subnet.VpcId}"], "Tags": [tag]}
    assert "VPC: tag" not in requests_by_name()


def route_tables(*gateways: str, own: bool) -> Any:
    """Return a `read` that finds a subnet with these gateways, in its own or in the main table of its VPC."""
    association = {"SubnetId": "subnet-1"} if own else {"Main": True}
    table = {"Associations": [association], "Routes": [{"GatewayId": one} for one in gateways]}
    other = {
        "Associations": [{"Main": own, "SubnetId": "subnet-2"}],
        "Routes": [{"GatewayId": "igw-9"}],
    }
    responses = {
        "describe_subnets": {
            "Subnets": [{"SubnetId": "subnet-1", "AvailabilityZone": "eu-west-1a"}]
        },
        "describe_route_tables": {"RouteTables": [other, table]},
    }
    return lambda _service, operation, _parameters: responses[operation]


@pytest.mark.parametrize("own", [True, False])
def test_routes_that_contradict_the_configuration_are_reported(own: bool) -> None:
    public, private = (
        requests_by_name(more)["subnet: routes"] for more in ("", "network.private = true")
    )
    inside, outside = route_tables("local", own=own), route_tables("local", "igw-1", own=own)
    public.find_current(outside)
    private.find_current(inside)
    with pytest.raises(
        CloudError, match=r"subnet-1: has no route to an internet gateway, .* private = true"
    ):
        public.find_current(inside)
    with pytest.raises(CloudError, match=r"subnet-1: has a route to .* igw-1, .* private = false"):
        private.find_current(outside)


@pytest.mark.parametrize(
    ("target", "isolated"),
    [
        ({"GatewayId": "local"}, True),
        ({"GatewayId": "vpce-1", "DestinationPrefixListId": "pl-1"}, False),
        ({"NatGatewayId": "nat-1"}, False),
        ({"TransitGatewayId": "tgw-1"}, False),
        ({"NatGatewayId": "nat-1", "State": "blackhole"}, True),
    ],
)
def test_subnets_with_only_local_routes_are_found(target: dict[str, str], isolated: bool) -> None:
    local = {"GatewayId": "local", "DestinationCidrBlock": "10.0.0.0/16"}
    responses: Any = {
        "describe_route_tables": {
            "RouteTables": [
                {"Associations": [{"SubnetId": FIRST}], "Routes": [local, target]},
                {"Associations": [{"Main": True}], "Routes": [local]},
            ]
        },
    }
    subnet = {"SubnetId": FIRST, "AvailabilityZone": "eu-west-1a", "VpcId": "vpc-1"}
    found = isolated_subnets([subnet], lambda _service, operation, *_: responses[operation])
    assert found == ([FIRST] if isolated else [])


FIRST, SECOND = (f"subnet-0123456789abcdef{number}" for number in (0, 1))


def subnets(*zones: str, vpcs: tuple[str, ...] = ("vpc-1", "vpc-1")) -> Any:
    """Return a `read` that finds two subnets in these zones, the first of which has a route to the internet."""
    found = [
        {"SubnetId": one, "AvailabilityZone": f"eu-west-1{zone}", "VpcId": vpc}
        for one, zone, vpc in zip((FIRST, SECOND), zones, vpcs, strict=False)
    ]
    tables = [
        {"Associations": [{"SubnetId": FIRST}], "Routes": [{"GatewayId": "igw-1"}]},
        {"Associations": [{"Main": True}], "Routes": [{"GatewayId": "local"}]},
    ]
    responses = {
        "describe_subnets": {"Subnets": found},
        "describe_route_tables": {"RouteTables": tables},
    }
    return lambda _service, operation, _parameters: responses[operation]


def test_each_of_several_subnets_is_tagged_and_checked() -> None:
    requests = requests_by_name(VARIANTS["fleets"])
    for subnet in (FIRST, SECOND):
        assert requests[f"{subnet}: tag"].parameters["Resources"] == [subnet]
    assert requests["subnet"].find_current(subnets("b", "a")).values == {  # type: ignore[union-attr]
        "subnet.SubnetId": SECOND,
        "subnet.VpcId": "vpc-1",
    }
    with pytest.raises(CloudError, match=f"{SECOND}: has no route to an internet gateway"):
        requests["subnet: routes"].find_current(subnets("a", "b"))


def test_subnets_that_emr_cannot_use_together_are_reported() -> None:
    find = requests_by_name(VARIANTS["fleets"])["subnet"].find_current
    for read, message in (
        (
            subnets("a"),
            f"line 5: network.subnets has {SECOND}, and there is no such subnet in eu-west-1: correct the ID",
        ),
        (
            subnets("a", "b", vpcs=("vpc-1", "vpc-2")),
            "line 5: network.subnets has subnets in vpc-1 and vpc-2: name subnets of one VPC, as EMR requires",
        ),
        (
            subnets("a", "a"),
            "line 5: network.subnets has 2 subnets in eu-west-1a: name one for each Availability Zone",
        ),
    ):
        with pytest.raises(CloudError, match=rf"^cluster\.toml, {message}"):
            find(read)


def test_missing_subnet_is_reported_with_remedy() -> None:
    for more, message in (
        ("", "no default VPC in eu-west-1: set network.subnet to a subnet of another VPC"),
        (
            'network.subnet = "subnet-12345678"',
            "cluster.toml, line 3: network.subnet has subnet-12345678, and there is no such subnet in eu-west-1: "
            "correct the ID",
        ),
    ):
        with pytest.raises(CloudError, match=f"^{message}$"):
            requests_by_name(more)["subnet"].find_current(lambda *_: {"Subnets": []})
