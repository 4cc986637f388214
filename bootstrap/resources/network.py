"""The subnet and the security groups of the nodes; only the tunnel's port is open."""

from __future__ import annotations

from bootstrap.aws.combination_rules import FOR_EMR, service_access_ports
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.errors import CloudError, UnresolvedReferenceError


def network_requests(names: Names) -> list[Request]:
    """Return the requests for the subnet and the security groups of a cluster."""
    network = names.config.network
    may_start = "EMR's service role may start nodes only in tagged subnets"
    requests = [
        _subnet(names),
        _check_route(names),
        _tag("subnet", "${subnet.SubnetId}", may_start),
    ]
    groups = {
        "primary": "primary node; EMR adds the rules it needs",
        "workers": "core and task nodes; EMR adds the rules it needs",
        "tunnel": "sources that may open the tunnel",
    }
    if network.private:
        may_connect = "EMR's service role may create an endpoint only in a tagged VPC"
        requests.append(_tag("VPC", "${subnet.VpcId}", may_connect))
        groups["service"] = "EMR access to nodes without public addresses"
    requests += [_group(names, suffix, purpose) for suffix, purpose in groups.items()]
    if network.private:
        for port in service_access_ports(names.config.release):
            sources = ("primary",) if port == 9443 else ("primary", "workers")
            requests += [_admit_nodes(port, source) for source in sources]
    requests += [_allow_ssh(cidr) for cidr in network.ssh_from]
    return [*requests, _revoke_other_rules(names)]


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


def _admit_nodes(port: int, source: str) -> Request:
    """Return the request that lets the nodes of a security group call EMR on a port."""
    group, reference = "${service.GroupId}", f"${{{source}.GroupId}}"

    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the rule exists."""
        own, nodes = (
            (read("ec2", "describe_security_groups", {"GroupIds": [one]}) or {})["SecurityGroups"][
                0
            ]
            for one in (group, reference)
        )
        for rule in own["IpPermissions"]:
            if rule["IpProtocol"] == "tcp" and rule["FromPort"] <= port <= rule["ToPort"]:
                pairs = rule.get("UserIdGroupPairs") or ()
                if any(pair["GroupId"] == nodes["GroupId"] for pair in pairs):
                    return CurrentState(True)
        return None

    pair = {"GroupId": reference, "Description": "Pomona - nodes"}
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [pair]}
    return Request(
        name=f"service: port {port} from {source}",
        service="ec2",
        operation="authorize_security_group_ingress",
        parameters={"GroupId": group, "IpPermissions": [rule]},
        purpose="the nodes of a private subnet call EMR on this port",
        find_current=find_current,
    )


def _group(names: Names, suffix: str, purpose: str) -> Request:
    name = names.prefixed(suffix)

    def find_current(read: ReadApi) -> CurrentState | None:
        """Find the security group by name."""
        filters = [
            {"Name": "group-name", "Values": [name]},
            {"Name": "vpc-id", "Values": ["${subnet.VpcId}"]},
        ]
        response = read("ec2", "describe_security_groups", {"Filters": filters})
        groups = response["SecurityGroups"] if response else []
        return CurrentState(True, {f"{suffix}.GroupId": groups[0]["GroupId"]}) if groups else None

    tags = [FOR_EMR, {"Key": "pomona", "Value": names.config.name}]
    return Request(
        name=f"security group {name}",
        service="ec2",
        operation="create_security_group",
        parameters={
            "GroupName": name,
            "Description": f"Pomona - {purpose}",
            "VpcId": "${subnet.VpcId}",
            "TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}],
        },
        purpose=purpose,
        find_current=find_current,
        outputs=lambda response: {f"{suffix}.GroupId": response["GroupId"]},
    )


def _allow_ssh(cidr: str) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the rule exists."""
        return CurrentState(True) if cidr in _sources(_rules(read)) else None

    return Request(
        name=f"tunnel: from {cidr}",
        service="ec2",
        operation="authorize_security_group_ingress",
        parameters={"GroupId": "${tunnel.GroupId}", "IpPermissions": [_ssh_permission(cidr)]},
        purpose="SSH access to the primary node",
        find_current=find_current,
    )


def _revoke_other_rules(names: Names) -> Request:
    """Return the request that revokes all rules missing in the configuration."""
    allowed = set(names.config.network.ssh_from)

    def other_rules(rules: list[Parameters]) -> list[Parameters]:
        return [rule for rule in rules if not (_is_ssh(rule) and _sources([rule]) <= allowed)]

    def find_current(read: ReadApi) -> CurrentState:
        """Return the rules that are not in the configuration."""
        return CurrentState(other_rules(_rules(read)))

    def revoke(parameters: Parameters, current: CurrentState) -> tuple[str, Parameters]:
        return "revoke_security_group_ingress", parameters | {"IpPermissions": current.current}

    return Request(
        name="tunnel: revoke other rules",
        service="ec2",
        operation="revoke_security_group_ingress",
        parameters={"GroupId": "${tunnel.GroupId}", "IpPermissions": []},
        purpose="revokes the rules that are not in the configuration",
        find_current=find_current,
        desired=[],
        build_update=revoke,
    )


def _rules(read: ReadApi) -> list[Parameters]:
    """Return the inbound rules of the tunnel's security group, one per source."""
    query = {"GroupIds": ["${tunnel.GroupId}"]}
    try:
        response = read("ec2", "describe_security_groups", query, ("InvalidGroup.NotFound",))
    except UnresolvedReferenceError:  # a group that does not exist yet has no rules
        return []
    rules = []
    for rule in response["SecurityGroups"][0]["IpPermissions"] if response else []:
        ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        for source_type in ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"):
            rules += [ports | {source_type: [source]} for source in rule.get(source_type) or ()]
    return rules


def _is_ssh(rule: Parameters) -> bool:
    return (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")) == ("tcp", 22, 22)


def _sources(rules: list[Parameters]) -> set[str]:
    """Return the IPv4 sources of rules; any other source becomes "other", which no configuration contains."""
    ranges = [rule.get("IpRanges", [{"CidrIp": "other"}])[0]["CidrIp"] for rule in rules]
    return set(ranges)


def _ssh_permission(cidr: str) -> Parameters:
    source = {"CidrIp": cidr, "Description": "Pomona - tunnel"}
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [source]}
