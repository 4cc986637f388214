"""Tests for the account: what only reads cannot change anything, and errors are one line with the request's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.aws.client import Account, api_name
from bootstrap.aws.request import (
    LocalFile,
    differences,
    has_references,
    is_read_only,
    resolve_references,
)
from bootstrap.errors import AccessDeniedError, CloudError, UnresolvedReferenceError
from support.aws_account import ACCOUNT, ADMIN, REGION, MotoAccount, serve

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


def test_it_says_whose_it_is(account: Account) -> None:
    assert (account.number, account.partition) == (ACCOUNT, "aws")


def test_asking_never_changes_anything(account: Account) -> None:
    for operation in ("create_bucket", "delete_bucket", "put_object", "copy_object"):
        assert not is_read_only(operation)
        with pytest.raises(AssertionError, match="is not read-only"):
            account.read("s3", operation, {})


def test_an_answer_in_pages_is_read_to_its_end(account: Account, tmp_path: Path) -> None:
    where = {"LocationConstraint": REGION}
    account.send("s3", "create_bucket", {"Bucket": "pages", "CreateBucketConfiguration": where})
    (tmp_path / "file").write_bytes(b"content")
    body = LocalFile.from_path(tmp_path / "file")
    for number in range(7):
        account.send("s3", "put_object", {"Bucket": "pages", "Key": str(number), "Body": body})
    query = {"Bucket": "pages", "PaginationConfig": {"PageSize": 3}}
    answer = account.read("s3", "list_objects_v2", query)
    assert answer is not None
    assert [(one["Key"], one["Size"]) for one in answer["Contents"]] == [
        (str(n), 7) for n in range(7)
    ]


def test_what_hangs_on_something_that_is_not_there_is_not_asked(account: Account) -> None:
    query = {"ClusterId": "${cluster.JobFlowId}"}
    with pytest.raises(UnresolvedReferenceError):
        account.read("emr", "describe_cluster", query)
    account.values["cluster.JobFlowId"] = "j-NONE"
    with pytest.raises(CloudError, match=r"^emr describe_cluster: "):
        account.read("emr", "describe_cluster", query)


def test_what_is_not_there_is_none_and_what_is_refused_is_told(
    account: Account, served: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.read("iam", "get_role", {"RoleName": "nobody"}, ("NoSuchEntity",)) is None
    with pytest.raises(CloudError, match=r"^iam get_role: .*nobody"):
        account.read("iam", "get_role", {"RoleName": "nobody"})
    for name, value in served.create_caller("poor", "s3:GetObject").items():
        monkeypatch.setenv(name, value)
    served.enforce_iam()
    with pytest.raises(AccessDeniedError, match=r"^iam get_role: .*request this permission$"):
        Account(REGION).read("iam", "get_role", {"RoleName": "nobody"}, ("NoSuchEntity",))


def test_what_is_not_known_everywhere_yet_is_sent_again(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"InstanceProfileName": "late", "RoleName": "late"}
    account.send("iam", "create_role", {"RoleName": "late", "AssumeRolePolicyDocument": "{}"})
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        account.send("iam", "create_instance_profile", {"InstanceProfileName": "late"})

    monkeypatch.setattr("bootstrap.aws.client.time.sleep", wait)
    with pytest.raises(CloudError, match=r"^iam add_role_to_instance_profile"):
        account.send("iam", "add_role_to_instance_profile", words)  # not patient with it
    assert waits == []
    account.send("iam", "add_role_to_instance_profile", words, ("NoSuchEntity",))
    assert len(waits) == 1


def test_nobody_answering_is_one_line(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(CloudError, match=r"^sts get_caller_identity: Could not connect"):
        Account(REGION)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AWS_PROFILE": "nobody"}, "profile (nobody) could not be found: `aws configure list-pro"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "sts: Invalid endpoint: nonsense; correct AWS_ENDPOINT"),
        ({"AWS_CONFIG_FILE": __file__}, "sts get_caller_identity: Unable to parse config file"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, '"http://127.0.0.1:1/"; check the region'),
    ],
)
def test_a_machine_that_is_set_up_wrongly_is_one_line(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ({"AWS_MAX_ATTEMPTS": "1"} | ADMIN | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CloudError) as caught:
        Account(REGION)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_operations_are_told_by_the_names_that_aws_documents() -> None:
    assert api_name("emr", "run_job_flow") == "emr RunJobFlow"
    assert api_name("s3", "list_objects_v2") == "s3 ListObjectsV2"


def test_only_what_is_wanted_is_compared() -> None:
    current = {"a": {"b": 1, "more": 2}, "c": [{"d": 1}, {"d": 2}]}
    assert differences(current, {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}) == []
    assert differences(current, {"a": {"b": 2}, "c": [{"d": 1}, {"d": 3}], "e": "x"}) == [
        "a.b: 1 -> 2",
        "c[1].d: 2 -> 3",
        "e: none -> x",
    ]
    assert differences([1], [1, 2], "list") == ["list: [1] -> [1, 2]"]


def test_answers_are_filled_in_wherever_they_are_named() -> None:
    told = {"a": "${x.Id}", "b": ["in ${x.Id} and ${y.Id}"], "c": 1}
    assert resolve_references(told, {"x.Id": "1"}) == {"a": "1", "b": ["in 1 and ${y.Id}"], "c": 1}
    assert has_references(told)
    assert not has_references(resolve_references(told, {"x.Id": "1", "y.Id": "2"}))
