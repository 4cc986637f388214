"""Tests for `bootstrap.schedule_expression`: what EventBridge Scheduler accepts, by its documentation."""

from __future__ import annotations

import pytest

from bootstrap.schedule_expression import expression_problem


@pytest.mark.parametrize(
    "expression",
    [
        *("rate(1 hour)", "rate(1 hours)", "rate(2 hour)", "rate(30 minutes)", "rate(365 days)"),
        # Examples of the user guides of EventBridge and EventBridge Scheduler.
        *("cron(15 10 * * ? *)", "cron(0/15 * * * ? *)", "cron(0 8 1 * ? *)", "cron(0 18 ? * MON-FRI *)"),
        *("cron(5 8-17/2 ? * MON-FRI *)", "cron(15 10 ? * 6L 2022-2023)", "cron(0/30 20-2 ? * MON-FRI *)"),
        # Reported as accepted by AWS.
        *("cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)", "cron(1-31/30 1-1 ? * 1,7 *)", "cron(0 2 ? * 5L *)"),
        *("cron(0 2 LW * ? *)", "cron(0 2 ? jan,Feb mOn *)"),
        *("cron(0 2 L * ? *)", "cron(0 2 L-3 * ? *)", "cron(0 2 15W * ? *)", "cron(0 2 1,15,L * ? *)"),
        *("cron(*/5 * * * ? *)", "cron(59 23 31 12 ? 2199)", "cron(0 0 1 1 ? 1970-2199/2)"),
        *("cron(0 2 ? * 2#1 *)", "cron(0 2 ? * FRI#5 *)", "cron(0 2 ? * L *)", "cron(0 2 ? * * *)"),
    ],
)  # fmt: skip
def test_valid_expression_is_accepted(expression: str) -> None:
    assert expression_problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(0 hours)", "a rate is a whole number of 1 or more and a unit"),
        ("rate(1.5 hours)", "a rate is a whole number"),
        ("rate(1 week)", "a rate is a whole number"),
        ("rate(hour)", "a rate is a whole number"),
        ("every(1 hour)", "write rate(1 hour)"),
        ("cron(0 2 * * ? *", "write rate(1 hour)"),
        ("cron(0 2 * * ?)", "a cron expression has 6 fields, not 5: minutes, hours, day-of-month, month,"),
        ("cron(0 0 2 * * ? *)", "a cron expression has 6 fields, not 7"),
        ("cron(0 2 * * * *)", "day-of-month is * and day-of-week is *; exactly one of them must be ?, as in cron("),
        ("cron(0 2 1 * MON *)", "day-of-month is 1 and day-of-week is MON; exactly one"),
        ("cron(0 2 ? * ? *)", "day-of-month is ? and day-of-week is ?; exactly one"),
        ("cron(60 2 * * ? *)", "minutes has 60; it must be 0-59, *, a range or a step"),
        ("cron(*/60 * * * ? *)", "minutes has */60; it must be 0-59"),
        ("cron(*/0 * * * ? *)", "minutes has */0; it must be"),
        ("cron(0,,30 * * * ? *)", "minutes has an empty value"),
        ("cron(? 2 * * ? *)", "minutes has ?; it must be"),
        ("cron(0 24 * * ? *)", "hours has 24; it must be 0-23"),
        ("cron(0 2-4-6 * * ? *)", "hours has 2-4-6"),
        ("cron(0 2 0 * ? *)", "day-of-month has 0; it must be 1-31, *, a range or a step, or L, LW, L-3 or 15W"),
        ("cron(0 2 32W * ? *)", "day-of-month has 32W"),
        ("cron(0 2 * 13 ? *)", "month has 13; it must be 1-12 or JAN-DEC"),
        ("cron(0 2 * JUNE ? *)", "month has JUNE"),
        ("cron(0 2 ? * 0 *)", "day-of-week has 0; it must be 1-7 or SUN-SAT, *, a range or a step, or L, 6L or 2#1"),
        ("cron(0 2 ? * 2#6 *)", "day-of-week has 2#6"),
        ("cron(0 2 ? * 3#1,6#3 *)", "day-of-week is 3#1,6#3; with #, it must be one value, such as 2#1"),
        ("cron(0 2 ? * \u017fUN *)", "day-of-week has \u017fUN"),
        ("cron(0 2 * * ? 2200)", "year has 2200; it must be 1970-2199"),
        (f"cron({','.join(map(str, range(60)))},{','.join(map(str, range(60)))} * * * ? *)", "it has 355 characters;"),
    ],
)  # fmt: skip
def test_invalid_expression_is_reported_with_remedy(expression: str, problem: str) -> None:
    assert expression_problem(expression).startswith(problem)
