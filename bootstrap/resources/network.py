"""The subnet and the security groups of the nodes; only the tunnel's port is open."""

from __future__ import annotations

from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.errors import CloudError, UnresolvedReferenceError
from bootstrap.resources.iam_policies import FOR_EMR


def network_requests(names: Names) -> list[Request]:
    """Return the requests for the subnet and the security groups of a cluster."""
    network = names.config.network
    requests = [_subnet(names), _tag_subnet(names)]
    groups = {
        "primary": "primary node; EMR adds the rules it needs",
        "workers": "core and task nodes; EMR adds the rules it needs",
        "tunnel": "sources that may open the tunnel",
    }
    if network.private:
        groups["service"] = "EMR access to nodes without public addresses"
    requests += [_group(names, suffix, purpose) for suffix, purpose in groups.items()]
    requests += [_allow_ssh(cidr) for cidr in network.ssh_from]
    return [*requests, _revoke_other_rules(names)]


def _subnet(names: Names) -> Request:
    subnet = names.config.network.subnet
    query: Parameters = {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
    if subnet:
        query = {"Filters": [{"Name": "subnet-id", "Values": [subnet]}]}

    def find_current(read: ReadApi) -> CurrentState:
        """Find the subnet and its VPC."""
        response = read("ec2", "describe_subnets", query)
        subnets = sorted((response or {})["Subnets"], key=lambda one: str(one["AvailabilityZone"]))
        if not subnets:
            problem = f"no subnet {subnet}" if subnet else "no default VPC"
            raise CloudError(f"{problem} in {names.config.region}: set one in [network] subnet")
        first = subnets[0]
        return CurrentState(
            True, {"subnet.SubnetId": first["SubnetId"], "subnet.VpcId": first["VpcId"]}
        )

    return Request(
        name="subnet",
        service="ec2",
        operation="describe_subnets",
        parameters=query,
        purpose="subnet of the nodes; default: the first subnet of the default VPC",
        find_current=find_current,
    )


def _tag_subnet(names: Names) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the subnet has the tag that EMR requires."""
        filters = [
            {"Name": "resource-id", "Values": ["${subnet.SubnetId}"]},
            {"Name": "key", "Values": [FOR_EMR["Key"]]},
        ]
        response = read("ec2", "describe_tags", {"Filters": filters})
        tags = response["Tags"] if response else []
        return CurrentState(True) if any(tag["Value"] == FOR_EMR["Value"] for tag in tags) else None

    return Request(
        name="subnet: tag",
        service="ec2",
        operation="create_tags",
        parameters={"Resources": ["${subnet.SubnetId}"], "Tags": [FOR_EMR]},
        purpose="EMR's service role may start nodes only in tagged subnets",
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
