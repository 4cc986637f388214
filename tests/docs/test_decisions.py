"""Tests for the records of design decisions: numbering, sections, and the two indexes."""

from __future__ import annotations

import re

from support.pages.docs_pages import DECISIONS, DOCS, decision_records, listed_pages

MKDOCS = (DOCS.parent / "mkdocs.yml").read_text()


def test_records_are_numbered_without_gaps() -> None:
    numbers = [int(record.name[:4]) for record in decision_records()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_index_lists_every_record_once_in_order_within_each_subject() -> None:
    assert sorted(listed_pages(DECISIONS / "README.md")) == decision_records()
    _, *subjects = re.split(r"^## ", (DECISIONS / "README.md").read_text(), flags=re.MULTILINE)
    for subject in subjects:
        numbers = re.findall(r"^- \[(\d{4}) ", subject, re.MULTILINE)
        assert numbers, subject
        assert numbers == sorted(numbers), subject


def test_navigation_lists_every_record_in_order() -> None:
    listed = re.findall(r"^ +- decisions/(\d.*\.md)$", MKDOCS, re.MULTILINE)
    assert listed == [record.name for record in decision_records()]


def test_each_record_has_status_context_decision_and_consequences() -> None:
    for record in decision_records():
        title, *lines = record.read_text().splitlines()
        assert title.startswith(f"# {record.name[:4]}. ")
        sections = [line for line in lines if line.startswith(("Status: ", "## "))]
        assert re.fullmatch(
            r"Status: (accepted|(accepted; )?superseded by \d{4}( for .+)?)", sections[0]
        ), record.name
        assert sections[1:] == ["## Context", "## Decision", "## Consequences"], record.name


def test_index_has_the_title_of_each_record() -> None:
    index = (DECISIONS / "README.md").read_text()
    for record in decision_records():
        title = record.read_text().splitlines()[0].removeprefix("# ").replace(". ", " ", 1)
        assert f"- [{title}]({record.name})" in index
