"""Tests for `pomona.cloud.render_plan`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.deploy.plan import all_requests, plan
from bootstrap.deploy.stacks import ResourceChange, StackChanges
from pomona.cloud.render_plan import stack_lines, summary_line
from support.aws.cluster_configs import names, uploads


@pytest.mark.parametrize(("count", "text"), [(1, "1 request"), (2, "2 requests")])
def test_summary_has_the_number_of_requests(count: int, text: str, tmp_path: Path) -> None:
    planned = [*plan(all_requests(names(), uploads(tmp_path)), None)][:count]
    assert summary_line(planned, None, "eu-west-1").startswith(f"{text} in an empty account, eu")


@pytest.mark.parametrize(("count", "text"), [(1, "1 resource"), (2, "2 resources")])
def test_new_stack_has_the_number_of_resources(count: int, text: str) -> None:
    added = ResourceChange("add", "Data", "AWS::S3::Bucket", None, "stores images")
    first, *_ = stack_lines(StackChanges("fruits-long-lived", False, [added] * count))
    assert first == f"stack fruits-long-lived: new, {text}"
