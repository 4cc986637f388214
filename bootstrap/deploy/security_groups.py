"""The security groups of the nodes: the clusters that use them, and the rules that EMR adds."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import LIVE, cluster_tags, list_clusters
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.deploy.stacks import ResourceChange, find_stack, stack_resources

SECURITY_GROUP = "AWS::EC2::SecurityGroup"
#: States of a cluster that uses its groups.
USING = (*LIVE, "TERMINATING")


def own_clusters(names: Names, read: ReadApi, states: Sequence[str] = LIVE) -> list[Parameters]:
    """Return the clusters tagged with the configuration's name; a schedule may have started several."""
    clusters = []
    for cluster in list_clusters(read, live=states == LIVE):
        if cluster["Name"] != names.config.name or cluster["Status"]["State"] not in states:
            continue
        response = read("emr", "describe_cluster", {"ClusterId": cluster["Id"]}) or {}
        if cluster_tags(response["Cluster"]).get("pomona") == names.config.name:
            clusters.append(cluster)
    return clusters


def removes_groups(changes: Sequence[ResourceChange]) -> bool:
    """Return whether changes of a stack remove a security group."""
    return any(one.type == SECURITY_GROUP and one.action == "remove" for one in changes)


def group_obstacle(names: Names, read: ReadApi, changes: Sequence[ResourceChange]) -> str:
    """Return why security groups cannot be removed; empty if they can, or none is removed.

    CloudFormation would report success, and leave the groups behind.
    """
    if removes_groups(changes):
        for cluster in own_clusters(names, read, USING):
            return (
                f"cluster {cluster['Id']} is {cluster['Status']['State']} and uses security groups that would be "
                "removed: run `pomona cloud down`, and `up` when it has terminated"
            )
    return ""


def attached_endpoints(names: Names, read: ReadApi) -> list[tuple[str, str]]:
    """Return the ID and the description of each VPC endpoint that has a security group of the stack.

    As of emr-spark-8.0.0, EMR creates one in the VPC of a private subnet, with the group for its access, and does not
    delete it. Its interfaces prevent the deletion of the group. No command of Pomona deletes it: the nodes of other
    clusters in the VPC may use it. See https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-clusters-in-a-vpc.html
    """
    stack = names.config.stack or names.prefixed("long-lived")
    if not find_stack(read, stack):
        return []
    groups = set(stack_resources(read, stack, SECURITY_GROUP))
    found = (read("ec2", "describe_vpc_endpoints", {}) or {})["VpcEndpoints"] if groups else []
    return [
        (
            str(one["VpcEndpointId"]),
            f"VPC endpoint {one['VpcEndpointId']} ({one['ServiceName']}): billed by the hour; if no other cluster in "
            f"{one['VpcId']} uses it, delete it with `aws ec2 delete-vpc-endpoints --region {names.config.region} "
            f"--vpc-endpoint-ids {one['VpcEndpointId']}`",
        )
        for one in found
        if one.get("State", "").lower() not in ("deleting", "deleted")
        and groups & {group["GroupId"] for group in one.get("Groups", ())}
    ]


def revoke_references(stack: str, account: Account) -> None:
    """Revoke the rules of the security groups of a stack that refer to security groups."""
    groups = stack_resources(account.read, stack, SECURITY_GROUP)
    if not groups:
        return
    found = account.read("ec2", "describe_security_groups", {"GroupIds": groups}) or {}
    for group in found["SecurityGroups"]:
        for key, direction in (("IpPermissions", "ingress"), ("IpPermissionsEgress", "egress")):
            rules = [
                {k: v for k, v in rule.items() if k in ("IpProtocol", "FromPort", "ToPort")}
                | {"UserIdGroupPairs": rule["UserIdGroupPairs"]}
                for rule in group.get(key, ())
                if rule.get("UserIdGroupPairs")
            ]
            if rules:
                parameters = {"GroupId": group["GroupId"], "IpPermissions": rules}
                account.send("ec2", f"revoke_security_group_{direction}", parameters)
