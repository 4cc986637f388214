"""Tests for `bootstrap.aws.client`: reads, retries, and errors in one line that names the request."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from bootstrap.aws.client import Account, api_name
from bootstrap.aws.describe_instance_types import supported_instance_types
from bootstrap.aws.request import (
    LocalFile,
    differences,
    has_references,
    is_read_only,
    resolve_references,
)
from bootstrap.errors import AccessDeniedError, CloudError, UnresolvedReferenceError
from support.aws.account import ACCOUNT, ADMIN, REGION, MotoAccount, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoAccount]:
    with serve(tmp_path_factory.mktemp("tls")) as account:
        account.reset()
        yield account


@pytest.fixture
def account(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    served.disable_iam()
    return Account(REGION)


def test_account_has_number_and_partition(account: Account) -> None:
    assert (account.number, account.partition) == (ACCOUNT, "aws")


def test_read_rejects_writing_operations(account: Account) -> None:
    for operation in ("create_bucket", "delete_bucket", "put_object", "copy_object"):
        assert not is_read_only(operation)
        with pytest.raises(AssertionError, match="is not read-only"):
            account.read("s3", operation, {})


def test_read_fetches_all_pages(account: Account, tmp_path: Path) -> None:
    location = {"LocationConstraint": REGION}
    parameters = {"Bucket": "pages", "CreateBucketConfiguration": location}
    account.send("s3", "create_bucket", parameters)
    (tmp_path / "file").write_bytes(b"content")
    body = LocalFile.from_path(tmp_path / "file")
    for number in range(7):
        account.send("s3", "put_object", {"Bucket": "pages", "Key": str(number), "Body": body})
    query = {"Bucket": "pages", "PaginationConfig": {"PageSize": 3}}
    response = account.read("s3", "list_objects_v2", query)
    assert response is not None
    assert [(one["Key"], one["Size"]) for one in response["Contents"]] == [
        (str(n), 7) for n in range(7)
    ]


def test_read_with_unresolved_reference_sends_nothing(account: Account) -> None:
    query = {"ClusterId": "${cluster.JobFlowId}"}
    with pytest.raises(UnresolvedReferenceError):
        account.read("emr", "describe_cluster", query)
    account.values["cluster.JobFlowId"] = "j-NONE"
    with pytest.raises(CloudError, match=r"^emr describe_cluster: "):
        account.read("emr", "describe_cluster", query)


def test_read_absent_resource_returns_none_and_denied_request_fails(
    account: Account, served: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.read("iam", "get_role", {"RoleName": "absent"}, ("NoSuchEntity",)) is None
    with pytest.raises(CloudError, match=r"^iam get_role: .*absent"):
        account.read("iam", "get_role", {"RoleName": "absent"})
    for name, value in served.create_caller("limited", "s3:GetObject").items():
        monkeypatch.setenv(name, value)
    served.enforce_iam()
    with pytest.raises(
        AccessDeniedError,
        match=r"^iam get_role: .*request this permission \(`pomona cloud policy` prints",
    ):
        Account(REGION).read("iam", "get_role", {"RoleName": "absent"}, ("NoSuchEntity",))


def test_bucket_of_another_account_is_denied(account: Account, served: MotoAccount) -> None:
    served.create_foreign_bucket("theirs")
    operations: dict[str, dict[str, Any]] = {
        "head_bucket": {},
        "get_bucket_policy": {},
        "list_objects_v2": {},
        "get_object": {"Key": "a"},
        "head_object": {"Key": "a"},
        "put_object": {"Key": "a", "Body": b"x"},
        "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
        "delete_bucket_policy": {},
    }
    for operation, parameters in operations.items():
        send = account.read if is_read_only(operation) else account.send
        with pytest.raises(AccessDeniedError) as caught:
            send("s3", operation, {"Bucket": "theirs", **parameters})
        assert str(caught.value).startswith(f"s3 {operation}: ")
        remedy = "or name another bucket if theirs does not belong to account 123456789012"
        assert str(caught.value).endswith(f"prints all that are needed), {remedy}")


def test_send_retries_only_given_error_codes(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"InstanceProfileName": "late", "RoleName": "late"}
    account.send("iam", "create_role", {"RoleName": "late", "AssumeRolePolicyDocument": "{}"})
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        account.send("iam", "create_instance_profile", {"InstanceProfileName": "late"})

    # Not `time.sleep` itself, which other threads of this process call.
    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr("bootstrap.aws.client.time", clock)
    with pytest.raises(CloudError, match=r"^iam add_role_to_instance_profile"):
        account.send("iam", "add_role_to_instance_profile", parameters)  # no retry codes
    with pytest.raises(CloudError, match=r"^iam add_role_to_instance_profile"):
        other = (("NoSuchEntity", "another message"), ("ValidationException", ""))
        account.send("iam", "add_role_to_instance_profile", parameters, other)
    assert waits == []
    account.send("iam", "add_role_to_instance_profile", parameters, (("NoSuchEntity", "late"),))
    assert len(waits) == 1


def test_unreachable_endpoint_is_reported(
    served: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(CloudError, match=r"^sts get_caller_identity: Could not connect"):
        Account(REGION)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_PROFILE": "absent"}, "profile (absent) could not be found: `aws configure list-pro"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "sts: Invalid endpoint: nonsense; correct AWS_ENDPOINT"),
        ({"AWS_CONFIG_FILE": __file__}, "sts get_caller_identity: Unable to parse config file"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, '"http://127.0.0.1:1/"; check the region'),
    ],
)
def test_invalid_aws_settings_are_reported_in_one_line(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ({"AWS_MAX_ATTEMPTS": "1"} | ADMIN | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CloudError) as caught:
        Account(REGION)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_api_name_is_name_in_aws_documentation() -> None:
    assert api_name("emr", "run_job_flow") == "emr RunJobFlow"
    assert api_name("s3", "list_objects_v2") == "s3 ListObjectsV2"


def test_differences_ignore_extra_keys() -> None:
    current = {"a": {"b": 1, "more": 2}, "c": [{"d": 1}, {"d": 2}]}
    assert differences(current, {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}) == []
    assert differences(current, {"a": {"b": 2}, "c": [{"d": 1}, {"d": 3}], "e": "x"}) == [
        "a.b: 1 -> 2",
        "c[1].d: 2 -> 3",
        "e: none -> x",
    ]
    assert differences([1], [1, 2], "list") == ["list: [1] -> [1, 2]"]


def test_references_are_resolved_in_nested_values() -> None:
    value = {"a": "${x.Id}", "b": ["in ${x.Id} and ${y.Id}"], "c": 1}
    assert resolve_references(value, {"x.Id": "1"}) == {"a": "1", "b": ["in 1 and ${y.Id}"], "c": 1}
    assert has_references(value)
    assert not has_references(resolve_references(value, {"x.Id": "1", "y.Id": "2"}))


def test_pages_of_change_sets_and_stack_events_are_combined() -> None:
    client = boto3.client(
        "cloudformation", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    account = object.__new__(Account)
    account._clients, account.values, account.number = (
        {"cloudformation": client},
        {},
        "123456789012",
    )
    changes = [
        {"ResourceChange": {"Action": "Add", "LogicalResourceId": one, "ResourceType": "AWS::S3::Bucket"}}
        for one in ("First", "Last")
    ]  # fmt: skip
    events = [
        {"StackId": "id", "EventId": one, "StackName": "a", "Timestamp": datetime.datetime.now(datetime.UTC)}
        for one in ("2", "1")
    ]  # fmt: skip
    with Stubber(client) as stub:
        query = {"ChangeSetName": "arn:aws:cloudformation:eu-west-1:1:changeSet/a/b"}
        status = {"Status": "CREATE_COMPLETE"}
        stub.add_response(
            "describe_change_set", status | {"Changes": changes[:1], "NextToken": "n"}, query
        )
        stub.add_response(
            "describe_change_set", status | {"Changes": changes[1:]}, query | {"NextToken": "n"}
        )
        found = account.read("cloudformation", "describe_change_set", query)
        assert found is not None
        assert (found["Status"], found["Changes"]) == ("CREATE_COMPLETE", changes)
        query = {"StackName": "a"}
        stub.add_response(
            "describe_stack_events", {"StackEvents": events[:1], "NextToken": "n"}, query
        )
        stub.add_response(
            "describe_stack_events", {"StackEvents": events[1:]}, query | {"NextToken": "n"}
        )
        found = account.read("cloudformation", "describe_stack_events", query)
        assert found is not None
        assert [one["EventId"] for one in found["StackEvents"]] == ["2", "1"]


def test_all_pages_of_supported_instance_types_are_read() -> None:
    """moto returns one page."""
    client = boto3.client(
        "emr", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    account = object.__new__(Account)
    account._clients, account.values, account.number = {"emr": client}, {}, "123456789012"
    query = {"ReleaseLabel": "emr-7.13.0"}
    operation = "list_supported_instance_types"
    with Stubber(client) as stub:
        page = {"SupportedInstanceTypes": [{"Type": "m5.xlarge"}], "Marker": "next"}
        stub.add_response(operation, page, query)
        page = {"SupportedInstanceTypes": [{"Type": "m6i.xlarge"}]}
        stub.add_response(operation, page, query | {"Marker": "next"})
        types = supported_instance_types(account.read, "emr-7.13.0")
        assert types == {"m5.xlarge", "m6i.xlarge"}
        stub.assert_no_pending_responses()
