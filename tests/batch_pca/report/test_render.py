"""The page of a refit as text: parsed with html.parser, its data unpacked with gzip and NumPy."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from typing import Any

import numpy as np
import pytest

from batch_pca.pca.fit import FitOptions, fit
from batch_pca.pca.moments import Moments
from batch_pca.report.plots import Movement
from batch_pca.report.render import Points, Report, ReportData, render
from support.report_pages import RATIO, Page, packed, reduction_of

pytestmark = pytest.mark.slow  # matplotlib draws for ten seconds in all


def points(labels: list[str], columns: int = 2, **more: Any) -> Points:
    scores = np.random.default_rng(0).normal(size=(len(labels), columns))
    paths = [f"file:/photos/{number}.jpg" for number in range(len(labels))]
    return Points(paths, labels, scores, 12_345, **more)


def report(labels: list[str], columns: int = 2, lake: str = "lake", **more: Any) -> Report:
    fitted = more.pop("reduction", reduction_of(RATIO))
    facts = (("version <fitted>", "41 <later> & more"),)
    return render(ReportData("refit-7", lake, fitted, points(labels, columns), facts, **more))


def test_the_page_is_whole_and_names_what_was_fitted() -> None:
    page = Page(report(["a", "b", "a"], lake="s3a://my & own/<lake>").html)
    assert "s3a://my & own/<lake>" in page.cells
    assert page.after("version <fitted>") == "41 <later> & more"
    assert page.after("rows fitted") == "500"
    assert page.after("columns") == "9, of which 2 never vary"
    assert page.after("components kept") == "2, 85.00% of the variance"
    assert "3 of 12,345 rows, 2 labels" in page.cells


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = report(["a", "b"]).html
    tags = Page(html).tags
    assert not {"link", "iframe", "object", "base", "form", "a"} & {tag for tag, _ in tags}
    names = {"src", "href", "xlink:href", "srcset", "data", "action"}
    references = [str(attrs[name]) for _, attrs in tags for name in names & set(attrs)]
    assert len(references) > 2
    assert all(at.startswith(("data:image/png;base64,", "#")) for at in references)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html


def test_the_page_may_run_its_one_script_and_nothing_else() -> None:
    html = report(["a", "b"]).html
    scripts = re.findall(r"<script(.*?)>(.*?)</script>", html, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json" id="data"', ""]
    digest = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
    policy = next(str(attrs["content"]) for tag, attrs in Page(html).tags if "http-equiv" in attrs)
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
    }


def test_every_picture_says_in_words_what_it_shows() -> None:
    moves = [Movement("v1", 3.0, 0.1, 0.2, False)]
    tags = Page(report(["a"], moves=moves).html).tags
    words = [attrs["alt"] for tag, attrs in tags if tag == "img"]
    words += [attrs["aria-label"] for _, attrs in tags if attrs.get("role") == "img"]
    assert len(words) == 3
    assert all(len(str(said)) > 20 for said in words)
    assert "3 explain 90% of the variance; 4 explain 95% of the variance" in str(words)


def test_the_page_can_be_read_in_light_and_in_dark() -> None:
    html = report(["a"]).html
    assert "color-scheme: light dark" in html
    assert "prefers-color-scheme: dark" in html
    pictures = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    assert any("var(--ink)" in picture and "var(--line)" in picture for picture in pictures)


def test_the_points_are_in_the_page_to_float32_whatever_their_order() -> None:
    labels = [f"label {i % 7}" for i in range(500)]
    given = points(labels, 5)
    data = packed(render(ReportData("r", "lake", reduction_of(RATIO), given)).html)
    scores = np.frombuffer(data["scores"], "<f4").reshape(5, 500).T
    codes = np.frombuffer(data["codes"], "<u4")
    paths = data["paths"].decode().split("\n")
    assert data["count"] == 500
    assert data["shares"] == RATIO[:5]
    assert paths != given.paths  # no label lies on top of all others
    by_path = dict(zip(paths, zip(scores, codes, strict=True), strict=True))
    for path, label, row in zip(given.paths, labels, given.scores, strict=True):
        score, code = by_path[path]
        assert f"label {code}" == label
        np.testing.assert_allclose(score, row, rtol=1e-6)


def test_names_in_the_data_are_written_out_and_end_no_script() -> None:
    path = "file:/a\nb/</script><script>alert(1)</script>\u202e.jpg"
    given = Points([path], [path], np.zeros((1, 2)), 1, {path: b"JPEG"})
    html = render(ReportData("r", "lake", reduction_of(RATIO), given)).html
    assert [tag for tag, _ in Page(html).tags].count("script") == 2
    data = packed(html)
    assert data["paths"].decode() == path.replace("\n", "\\n").replace("\u202e", "\\u202e")
    assert data["pictures"] == {"0": "data:image/jpeg;base64,SlBFRw=="}


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "a & b", "\"quoted\" 'label'"])
def test_labels_are_text_and_never_markup(label: str) -> None:
    html = report([label, label, "other"], label_shifts={label: 0.5}, quarantine={label: 7}).html
    page = Page(html)
    assert page.after(label) == "2"
    assert page.cells.count(label) == 4  # in the list, in both tables, in the quarantine
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_each_label_is_listed_with_its_count_and_a_mark_of_its_own() -> None:
    labels = [f"label {number:03}" for number in range(131)]
    page = Page(report([*labels, "label 007"]).html)
    assert page.after("label 007") == "2"
    assert page.after("label 130") == "1"
    colours = [attrs["color"] for tag, attrs in page.tags if tag == "svg" and "color" in attrs]
    shapes = [attrs["d"] for tag, attrs in page.tags if tag == "path"]
    assert len(set(zip(colours, shapes, strict=False))) == 131


def test_the_middles_of_the_labels_are_told_in_numbers() -> None:
    scores = np.array([[1.0, 10.0], [3.0, 20.0], [-5.0, 0.0]])
    given = Points(["p", "q", "r"], ["b", "b", "a"], scores, 3)
    page = Page(render(ReportData("r", "lake", reduction_of(RATIO), given)).html)
    at = page.cells.index("component 2")
    assert page.cells[at + 1 : at + 9] == [
        *("a", "1", "-5.00 ± 0.00", "0.00 ± 0.00"),
        *("b", "2", "2.00 ± 1.00", "15.00 ± 5.00"),
    ]


def test_drift_and_quarantine_are_told_or_their_absence_is() -> None:
    page = Page(report(["a"]).html)
    assert "No refit yet of an earlier version to compare with." in page.cells
    assert "Nothing is known of a quarantine." in page.cells
    page = Page(report(["a"], quarantine={}).html)
    assert "No image was in quarantine when this page was made." in page.cells
    page = Page(
        report(
            ["a"],
            moves=[Movement("v1", 3.25, 0.125, 0.5, False), Movement("v4", 20.5, 0.75, 1.5, True)],
            refits=[("refit", "rows"), ("r-4", "77")],
            label_shifts={"Fig": 1.5},
            quarantine={"empty": 2, "corrupt": 31},
        ).html
    )
    said = " ".join(page.cells)
    assert "of version v4, turned by 20.5° and moved by 0.75 standard deviations" in said
    assert page.after("r-4") == "77"
    assert page.after("Fig") == "1.50"
    assert "33 images were in quarantine when this page was made." in page.cells
    assert page.cells.index("corrupt") < page.cells.index("empty")
    assert page.after("corrupt") == "31"


def test_the_numbers_for_90_95_and_99_percent_are_right() -> None:
    page = Page(report(["a"]).html)
    found = [page.after(f"{share}% of the variance") for share in (90, 95, 99)]
    assert found == ["3", "4", "6"]


def test_the_note_stands_only_where_rows_are_the_limit() -> None:
    limited = Page(report(["a"], reduction=reduction_of(RATIO, count=8)).html)
    note = next(cell for cell in limited.cells if "number of rows is the limit" in cell)
    assert "Only 8 rows were fitted" in note
    assert "7 components" in note
    assert "would grow" in note
    assert not any("limit" in cell for cell in Page(report(["a"]).html).cells)


@pytest.mark.parametrize("columns", [1, 2])
def test_labels_of_any_script_are_drawn_without_a_warning(columns: int) -> None:
    labels = [
        "苹果",
        "яблоко",
        "🍎",
        "_hidden",
        "$\\bad{$",
        "$broken",
        "tab\tnewline\n",
        "x" * 200,
        "",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = Page(report(labels, columns).html)
    assert {"苹果", "яблоко", "🍎", "$broken"} <= set(page.cells)


def test_one_component_of_one_column_is_enough() -> None:
    rows = np.arange(6.0)[:, np.newaxis]
    fitted = fit(Moments.of(rows, rows[0]), FitOptions(components=1))
    given = Points(list("abcdef"), ["a", "b"] * 3, fitted.transform(rows), 6)
    page = Page(render(ReportData("r", "lake", fitted, given)).html)
    assert page.after("99% of the variance") == "1"


@pytest.mark.parametrize(
    ("labels", "shape"), [(["a"], (2, 2)), (["a"], (1, 0)), (["a"], (1,)), ([], (0, 2))]
)
def test_points_that_do_not_fit_their_labels_are_refused(
    labels: list[str], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=f"do not fit {len(labels)} labels"):
        Points(["p"] * len(labels), labels, np.zeros(shape), 9)
