"""The subnets of the nodes: their routes, and the tag that EMR's service role requires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bootstrap.aws.combination_rules import FOR_EMR
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.errors import CloudError

#: The subnet of a configuration that names at most one.
SUBNET_REFERENCE = "${subnet.SubnetId}"


def network_requests(names: Names) -> list[Request]:
    """Return the requests for the subnets of a cluster; the security groups are in the template."""
    may_start = "EMR's service role may start nodes only in tagged subnets"
    requests = [_subnets(names), _check_routes(names)]
    for subnet in names.config.network.subnets or (SUBNET_REFERENCE,):
        name = "subnet" if subnet == SUBNET_REFERENCE else subnet
        requests.append(_tag(name, subnet, may_start))
    if names.config.network.private:
        may_connect = "EMR's service role may create an endpoint only in a tagged VPC"
        requests.append(_tag("VPC", "${subnet.VpcId}", may_connect))
    return requests


def find_subnets(names: Names, read: ReadApi) -> list[Parameters]:
    """Return the descriptions of the subnets of the nodes, by zone.

    Raises
    ------
    CloudError
        If one does not exist, they cannot be used together, or, without a configured subnet, if there is no default
        VPC.
    """
    response = read("ec2", "describe_subnets", _subnet_query(names)) or {}
    found: list[Parameters] = sorted(
        response["Subnets"], key=lambda one: str(one["AvailabilityZone"])
    )
    region, configured = names.config.region, names.config.subnets
    if not configured:
        if not found:
            raise CloudError(
                f"no default VPC in {region}: set network.subnet to a subnet of another VPC"
            )
        return found[:1]
    key = "network.subnets" if names.config.network.subnets else "network.subnet"
    setting = f"{names.config.lines(key)}: {key}"
    for subnet in configured:
        if subnet not in [one["SubnetId"] for one in found]:
            raise CloudError(
                f"{setting} has {subnet}, and there is no such subnet in {region}: correct the ID"
            )
    networks = sorted({str(one["VpcId"]) for one in found})
    if len(networks) > 1:
        raise CloudError(
            f"{setting} has subnets in {' and '.join(networks)}: name subnets of one VPC, as EMR requires"
        )
    ((zone, count),) = Counter(str(one["AvailabilityZone"]) for one in found).most_common(1)
    if count > 1:
        raise CloudError(
            f"{setting} has {count} subnets in {zone}: name one for each Availability Zone, as EMR requires"
        )
    return found


def isolated_subnets(subnets: list[Parameters], read: ReadApi) -> list[str]:
    """Return the IDs of the subnets whose route table has only local routes, and no route to a gateway endpoint."""
    query = _route_query(str(subnets[0]["VpcId"]))
    tables = (read("ec2", "describe_route_tables", query) or {})["RouteTables"]
    return [
        subnet
        for subnet, table in _decisive_tables(tables, subnets)
        if all(map(_is_local, table["Routes"]))
    ]


def _is_local(route: Parameters) -> bool:
    """Return whether a route ends in the VPC, or at a target that no longer exists."""
    return route.get("GatewayId") == "local" or route.get("State") == "blackhole"


def _subnet_query(names: Names) -> Parameters:
    if subnets := names.config.subnets:
        return {"Filters": [{"Name": "subnet-id", "Values": list(subnets)}]}
    return {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}


def _subnets(names: Names) -> Request:
    def find_current(read: ReadApi) -> CurrentState:
        """Find the subnets and their VPC."""
        first = find_subnets(names, read)[0]
        return CurrentState(
            True, {"subnet.SubnetId": first["SubnetId"], "subnet.VpcId": first["VpcId"]}
        )

    return Request(
        name="subnet",
        service="ec2",
        operation="describe_subnets",
        parameters=_subnet_query(names),
        purpose="subnets of the nodes, one of which EMR chooses"
        if len(names.config.subnets) > 1
        else "subnet of the nodes; default: the first subnet of the default VPC",
        find_current=find_current,
    )


def _check_routes(names: Names) -> Request:
    """Return the request that compares the routes of the subnets with `network.private`: EMR rejects a mismatch."""
    private = names.config.network.private
    query = _route_query("${subnet.VpcId}")

    def find_current(read: ReadApi) -> CurrentState:
        """Find the route table of each subnet, or else the main one of the VPC."""
        tables = (read("ec2", "describe_route_tables", query) or {})["RouteTables"]
        for subnet, table in _decisive_tables(tables, find_subnets(names, read)):
            _check_route_table(table, subnet, private=private)
        return CurrentState(True)

    return Request(
        name="subnet: routes",
        service="ec2",
        operation="describe_route_tables",
        parameters=query,
        purpose="a private subnet has no route to an internet gateway, any other has one",
        find_current=find_current,
    )


def _check_route_table(table: Parameters, subnet: str, *, private: bool) -> None:
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


def _route_query(vpc: str) -> Parameters:
    return {"Filters": [{"Name": "vpc-id", "Values": [vpc]}]}


def _decisive_tables(
    tables: list[Parameters], subnets: list[Parameters]
) -> Iterator[tuple[str, Parameters]]:
    """Yield the ID of each subnet with its route table, or else the main route table of the VPC."""
    for subnet in (str(one["SubnetId"]) for one in subnets):
        for table in _route_tables(tables, subnet)[:1]:
            yield subnet, table


def _route_tables(tables: list[Parameters], subnet: str) -> list[Parameters]:
    """Return the explicitly associated route table of a subnet, if it has one, then the main route table."""

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
