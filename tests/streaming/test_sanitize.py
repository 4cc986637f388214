"""Tests for `streaming.sanitize` and `batch_pca.refits.csv_injection`: escaped text is harmless and readable."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batch_pca.refits.csv_injection import escape_formulas
from streaming.sanitize import escape_json, escape_text, message_line
from support.faults.hostile_names import CONTROL_CHARACTERS, NAMES


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Crème [x] 苹果 👩‍🌾", "Crème [x] 苹果 👩‍🌾"),
        ("\x1b[2J", "\\x1b[2J"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egpj", "\\u202egpj"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
)
def test_escape_text_escapes_only_control_and_invisible_characters(text: str, escaped: str) -> None:
    assert escape_text(text) == escaped


def test_message_line_is_short_and_keeps_start_and_end() -> None:
    assert message_line("a\nb") == "a\\nb"
    line = message_line(f"/lake/tags/{'x' * 10_000}.json: broken: delete it")
    assert line.startswith("/lake/tags/xxx")
    assert line.endswith("xxx.json: broken: delete it")
    assert "[8,0" in line
    assert len(line) < 2050


def test_message_line_of_2000_characters_is_unchanged() -> None:
    assert message_line("x" * 2000) == "x" * 2000


@pytest.mark.parametrize("place", range(1380, 1405))
def test_message_line_is_redacted_before_it_is_shortened(place: int) -> None:
    text = f"{'x' * place} s3://KEY:hunter2-secret@bucket {'y' * 3000}"
    assert "hunter2"[:3] not in message_line(text)


def test_escape_json_keeps_value_and_line_breaks() -> None:
    value = {"path": [*NAMES, "\ud800", "\U000e0041"], "rows": 3}
    document = escape_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value
    assert not set(document) & set(CONTROL_CHARACTERS)
    assert document.splitlines()[0] == "{"
    document.encode()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("  =1", "'  =1"),
        ("\t@SUM(A1)", "\t'@SUM(A1)"),
        ("\uff1d1", "'\uff1d1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("file:/a;=1+1/0.jpg", "file:/a;'=1+1/0.jpg"),
        ("a\n=1", "a\n'=1"),
        ("a\n\n=1", "a\n\n'=1"),
        ("a; \r\n\t =1", "a; \r\n\t' =1"),
        *(
            (text, text)
            for text in ("Apple-Red", "a=b", "a, b", "c++", "'", "", "file:/x/=b/0.jpg")
        ),
    ],
)
def test_escape_formulas_prefixes_only_formulas(text: str, cell: str) -> None:
    assert escape_formulas(pa.array([text])).to_pylist() == [cell]
