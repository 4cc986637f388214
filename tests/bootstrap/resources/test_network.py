"""Tests for the network: nothing is open but SSH, and that from the named addresses alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bootstrap.aws.request import Parameters, Request
from bootstrap.errors import CloudError, UnresolvedReferenceError
from bootstrap.resources.network import network_requests
from support.cluster_configs import VARIANTS, names


def by_name(more: str = "") -> dict[str, Request]:
    return {request.name: request for request in network_requests(names(more))}


def test_no_port_is_open_unless_someone_is_named() -> None:
    assert not [r for r in by_name().values() if r.operation == "authorize_security_group_ingress"]
    (opened,) = [
        request.parameters["IpPermissions"]
        for request in by_name(VARIANTS["private"]).values()
        if request.operation == "authorize_security_group_ingress"
    ]
    (rule,) = opened
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == ["192.0.2.1/32"]


def test_only_the_primary_node_gets_the_group_of_the_tunnel() -> None:
    groups = [name for name in by_name() if name.startswith("security group")]
    assert groups == [f"security group fruits-{one}" for one in ("primary", "workers", "tunnel")]
    assert "security group fruits-service" in by_name(VARIANTS["private"])


def test_descriptions_hold_only_what_ec2_allows() -> None:
    allowed = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}"
    for request in by_name(VARIANTS["private"]).values():
        told = request.parameters.get("Description", "x")
        assert re.fullmatch(allowed, told), told


def test_what_emr_may_touch_carries_its_tag() -> None:
    tag = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}
    requests = by_name(VARIANTS["private"])
    assert requests["subnet: tag"].parameters["Tags"] == [tag]
    for name, request in requests.items():
        if name.startswith("security group"):
            (tags,) = request.parameters["TagSpecifications"]
            assert tag in tags["Tags"]


def rules(*permissions: Parameters) -> Any:
    groups = {"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": list(permissions)}]}
    return lambda *_: groups


def ssh(*sources: str, port: int = 22) -> Parameters:
    ranges = [{"CidrIp": source} for source in sources]
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}


@pytest.mark.parametrize(
    ("standing", "taken"),
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
def test_what_the_description_does_not_name_is_taken_away(
    standing: list[Parameters], taken: list[Parameters]
) -> None:
    request = by_name(VARIANTS["private"])["tunnel: revoke other rules"]
    found = request.find_current(rules(*standing))
    assert found is not None
    assert found.current == taken
    assert request.build_update is not None
    operation, parameters = request.build_update(request.parameters, found)
    assert (operation, parameters["IpPermissions"]) == ("revoke_security_group_ingress", taken)


def test_a_group_that_is_still_to_be_made_is_closed() -> None:
    def unknown(*_: Any) -> Any:
        raise UnresolvedReferenceError

    found = by_name()["tunnel: revoke other rules"].find_current(unknown)
    assert found is not None
    assert found.current == []


def test_an_account_without_a_default_network_is_asked_for_a_subnet() -> None:
    for more, told in (
        ("", "no default VPC in eu-west-1"),
        ('network.subnet = "subnet-12345678"', "no subnet"),
    ):
        with pytest.raises(CloudError, match=told + r".*: set one in \[network\] subnet"):
            by_name(more)["subnet"].find_current(lambda *_: {"Subnets": []})
