"""Tests for `bootstrap.resources.network`: only SSH from the configured sources is open."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bootstrap.aws.request import Parameters, Request
from bootstrap.errors import CloudError, UnresolvedReferenceError
from bootstrap.resources.network import network_requests
from support.aws.cluster_configs import VARIANTS, names


def requests_by_name(more: str = "") -> dict[str, Request]:
    return {request.name: request for request in network_requests(names(more))}


def test_port_is_open_only_for_configured_sources() -> None:
    assert not [
        r for r in requests_by_name().values() if r.operation == "authorize_security_group_ingress"
    ]
    (opened,) = [
        request.parameters["IpPermissions"]
        for request in requests_by_name(VARIANTS["private"]).values()
        if request.name.startswith("tunnel: from")
    ]
    (rule,) = opened
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == ["192.0.2.1/32"]


def test_security_groups() -> None:
    groups = [name for name in requests_by_name() if name.startswith("security group")]
    assert groups == [f"security group fruits-{one}" for one in ("primary", "workers", "tunnel")]
    assert "security group fruits-service" in requests_by_name(VARIANTS["private"])


def test_descriptions_have_only_characters_allowed_by_ec2() -> None:
    allowed = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}"
    for request in requests_by_name(VARIANTS["private"]).values():
        description = request.parameters.get("Description", "x")
        assert re.fullmatch(allowed, description), description


def test_subnet_and_security_groups_have_emr_tag() -> None:
    tag = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}
    requests = requests_by_name(VARIANTS["private"])
    assert requests["subnet: tag"].parameters["Tags"] == [tag]
    for name, request in requests.items():
        if name.startswith("security group"):
            (tags,) = request.parameters["TagSpecifications"]
            assert tag in tags["Tags"]


def test_private_subnet_has_ports_and_tags_that_emr_needs() -> None:
    requests = requests_by_name(VARIANTS["private"])
    ports = {
        (rule["FromPort"], rule["UserIdGroupPairs"][0]["GroupId"])
        for request in requests.values()
        if request.operation == "authorize_security_group_ingress"
        and request.parameters["GroupId"] == "${service.GroupId}"
        for rule in request.parameters["IpPermissions"]
    }
    primary, workers = "${primary.GroupId}", "${workers.GroupId}"
    assert ports == {(9443, primary), (443, primary), (443, workers)}
    assert requests["VPC: tag"].parameters["Resources"] == ["${subnet.VpcId}"]
    private = requests_by_name("network.private = true")
    opened = [name for name in private if name.startswith("service: ")]
    assert opened == ["service: port 9443 from primary"]
    public = requests_by_name()
    assert not [name for name in public if name.startswith("service: ") or name == "VPC: tag"]


def test_rule_of_another_port_or_group_does_not_admit_nodes() -> None:
    request = requests_by_name(VARIANTS["private"])["service: port 9443 from primary"]

    def found(port: int, source: str) -> bool:
        pair = {"UserIdGroupPairs": [{"GroupId": source}]}
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **pair}
        groups = {
            "${service.GroupId}": {"GroupId": "sg-1", "IpPermissions": [rule]},
            "${primary.GroupId}": {"GroupId": "sg-2", "IpPermissions": []},
        }
        read: Any = lambda *query: {"SecurityGroups": [groups[query[2]["GroupIds"][0]]]}  # noqa: E731
        return request.find_current(read) is not None

    assert found(9443, "sg-2")
    assert not found(443, "sg-2")
    assert not found(9443, "sg-3")


def route_tables(*gateways: str, own: bool) -> Any:
    """Return a `read` that finds a subnet with these gateways, in its own or in the main table of its VPC."""
    association = {"SubnetId": "subnet-1"} if own else {"Main": True}
    table = {"Associations": [association], "Routes": [{"GatewayId": one} for one in gateways]}
    other = {
        "Associations": [{"Main": own, "SubnetId": "subnet-2"}],
        "Routes": [{"GatewayId": "igw-9"}],
    }
    responses = {
        "describe_subnets": {"Subnets": [{"SubnetId": "subnet-1"}]},
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


def rules(*permissions: Parameters) -> Any:
    groups = {"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": list(permissions)}]}
    return lambda *_: groups


def ssh(*sources: str, port: int = 22) -> Parameters:
    ranges = [{"CidrIp": source} for source in sources]
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}


@pytest.mark.parametrize(
    ("existing_rules", "revoked"),
    [
        ([ssh("192.0.2.1/32")], []),
        ([ssh("192.0.2.1/32", "198.51.100.0/24")], [ssh("198.51.100.0/24")]),
        ([ssh("192.0.2.1/32", port=9443)], [ssh("192.0.2.1/32", port=9443)]),
        (
            [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
            [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
        ),
        ([], []),
    ],
)
def test_rules_missing_in_configuration_are_revoked(
    existing_rules: list[Parameters], revoked: list[Parameters]
) -> None:
    request = requests_by_name(VARIANTS["private"])["tunnel: revoke other rules"]
    existing = request.find_current(rules(*existing_rules))
    assert existing is not None
    assert existing.current == revoked
    assert request.build_update is not None
    operation, parameters = request.build_update(request.parameters, existing)
    assert (operation, parameters["IpPermissions"]) == ("revoke_security_group_ingress", revoked)


def test_missing_security_group_has_no_rules() -> None:
    def unresolved(*_: Any) -> Any:
        raise UnresolvedReferenceError

    existing = requests_by_name()["tunnel: revoke other rules"].find_current(unresolved)
    assert existing is not None
    assert existing.current == []


def test_missing_subnet_is_reported_with_remedy() -> None:
    for more, message in (
        ("", "no default VPC in eu-west-1"),
        ('network.subnet = "subnet-12345678"', "no subnet"),
    ):
        with pytest.raises(CloudError, match=message + r".*: set one in \[network\] subnet"):
            requests_by_name(more)["subnet"].find_current(lambda *_: {"Subnets": []})
