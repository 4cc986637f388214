"""The subnet of the nodes: its routes, and the tag that EMR's service role requires."""

from __future__ import annotations

from bootstrap.aws.combination_rules import FOR_EMR
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.errors import CloudError


def network_requests(names: Names) -> list[Request]:
    """Return the requests for the subnet of a cluster; the security groups are in the template."""
    may_start = "EMR's service role may start nodes only in tagged subnets"
    requests = [
        _subnet(names),
        _check_route(names),
        _tag("subnet", "${subnet.SubnetId}", may_start),
    ]
    if names.config.network.private:
        may_connect = "EMR's service role may create an endpoint only in a tagged VPC"
        requests.append(_tag("VPC", "${subnet.VpcId}", may_connect))
    return requests


def find_subnet(names: Names, read: ReadApi) -> Parameters:
    """Return the description of the subnet of the nodes.

    Raises
    ------
    CloudError
        If it does not exist, or, without a configured subnet, if there is no default VPC.
    """
    response = read("ec2", "describe_subnets", _subnet_query(names)) or {}
    subnets: list[Parameters] = sorted(
        response["Subnets"], key=lambda one: str(one["AvailabilityZone"])
    )
    if not subnets:
        subnet = names.config.network.subnet
        problem = f"no subnet {subnet}" if subnet else "no default VPC"
        raise CloudError(f"{problem} in {names.config.region}: set one in [network] subnet")
    return subnets[0]


def _subnet_query(names: Names) -> Parameters:
    subnet = names.config.network.subnet
    if subnet:
        return {"Filters": [{"Name": "subnet-id", "Values": [subnet]}]}
    return {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}


def _subnet(names: Names) -> Request:
    def find_current(read: ReadApi) -> CurrentState:
        """Find the subnet and its VPC."""
        found = find_subnet(names, read)
        return CurrentState(
            True, {"subnet.SubnetId": found["SubnetId"], "subnet.VpcId": found["VpcId"]}
        )

    return Request(
        name="subnet",
        service="ec2",
        operation="describe_subnets",
        parameters=_subnet_query(names),
        purpose="subnet of the nodes; default: the first subnet of the default VPC",
        find_current=find_current,
    )


def _check_route(names: Names) -> Request:
    """Return the request that compares the routes of the subnet with `network.private`: EMR rejects a mismatch."""
    private = names.config.network.private
    query = {"Filters": [{"Name": "vpc-id", "Values": ["${subnet.VpcId}"]}]}

    def find_current(read: ReadApi) -> CurrentState:
        """Find the route table of the subnet, or else the main one of its VPC."""
        subnet = str((read("ec2", "describe_subnets", _SUBNET) or {})["Subnets"][0]["SubnetId"])
        tables = (read("ec2", "describe_route_tables", query) or {})["RouteTables"]
        for table in _route_tables(tables, subnet)[:1]:
            gateways = [str(route.get("GatewayId", "")) for route in table["Routes"]]
            public = [gateway for gateway in gateways if gateway.startswith("igw-")]
            if public and private:
                raise CloudError(
                    f"{subnet}: has a route to the internet gateway {public[0]}, but network.private is true: "
                    "set private = false, or another subnet in [network]"
                )
            if not (public or private):
                raise CloudError(
                    f"{subnet}: has no route to an internet gateway, but network.private is false: "
                    "set private = true, or another subnet in [network]"
                )
        return CurrentState(True)

    return Request(
        name="subnet: routes",
        service="ec2",
        operation="describe_route_tables",
        parameters=query,
        purpose="a private subnet has no route to an internet gateway, any other has one",
        find_current=find_current,
    )


_SUBNET = {"SubnetIds": ["${subnet.SubnetId}"]}


def _route_tables(tables: list[Parameters], subnet: str) -> list[Parameters]:
    """Return the tables that apply to a subnet, the decisive one first."""

    def associations(table: Parameters) -> list[Parameters]:
        return list(table.get("Associations", ()))

    own = [t for t in tables if any(one.get("SubnetId") == subnet for one in associations(t))]
    return own + [t for t in tables if any(one.get("Main") for one in associations(t))]


def _tag(resource: str, reference: str, purpose: str) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the resource has the tag that EMR requires."""
        filters = [
            {"Name": "resource-id", "Values": [reference]},
            {"Name": "key", "Values": [FOR_EMR["Key"]]},
        ]
        response = read("ec2", "describe_tags", {"Filters": filters})
        tags = response["Tags"] if response else []
        return CurrentState(True) if any(tag["Value"] == FOR_EMR["Value"] for tag in tags) else None

    return Request(
        name=f"{resource}: tag",
        service="ec2",
        operation="create_tags",
        parameters={"Resources": [reference], "Tags": [FOR_EMR]},
        purpose=purpose,
        find_current=find_current,
    )
