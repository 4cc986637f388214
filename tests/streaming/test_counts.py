"""Tests for counts with their nouns."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from streaming.counts import format_count

REPOSITORY = Path(__file__).parents[2]
NOUNS = re.compile(
    r" (other |new |more )?(rows|images|labels|components|refits|vectors|folders|files|columns|permissions|requests|"
    r"resources|days|hours|bits|values|pairs|versions|entries|tags)\b"
)
#: Expressions that are never 1, such as the rows of a fit, and those that are no counts.
NEVER_ONE = {
    "MAX_TABLE_ROWS",
    "comparison.rows",
    "count",
    "description['rows_fitted']",
    "good",
    "images",
    "kind",
    "len(first_attempts)",
    "options.components",
    "refit.rows",
    "row.rows_fitted",
    "upper.size",
    "wanted.days",
    "width",
    "'/'.join(map(str, dict.fromkeys(bits)))",
}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1_000_000, "1,000,000 images")],
)
def test_noun_is_singular_only_for_one(count: int, text: str) -> None:
    assert format_count(count, "image") == text


def test_irregular_plural_is_given() -> None:
    texts = [format_count(count, "entry", "entries") for count in (1, 2)]
    assert texts == ["1 entry", "2 entries"]


@pytest.mark.parametrize("package", ["streaming", "batch_pca", "pomona"])
def test_counts_with_nouns_are_formatted_in_one_place(package: str) -> None:
    found = []
    for file in (REPOSITORY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for value, text in pairwise(parts):
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(text, ast.Constant)
                    and NOUNS.match(str(text.value))
                    and ast.unparse(value.value) not in NEVER_ONE
                ):
                    found.append(
                        f"{file}:{value.lineno}: {{{ast.unparse(value.value)}}}{text.value}"
                    )
    assert not found, "use format_count"
