"""Tests for `batch_pca.report.render`: the HTML parsed with html.parser, its data decompressed with gzip."""

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
from batch_pca.report.outliers import NotableImage
from batch_pca.report.plots import DriftPoint
from batch_pca.report.render import Points, Report, ReportData, render
from batch_pca.report.thumbnails import Thumbnails
from support.pages.report_pages import RATIO, Page, packed, reduction_of

pytestmark = pytest.mark.slow  # matplotlib takes ten seconds in total


def points(labels: list[str], columns: int = 2, **more: Any) -> Points:
    scores = np.random.default_rng(0).normal(size=(len(labels), columns))
    paths = [f"file:/photos/{number}.jpg" for number in range(len(labels))]
    return Points(paths, labels, scores, 12_345, **more)


def report(labels: list[str], columns: int = 2, lake: str = "lake", **more: Any) -> Report:
    fitted = more.pop("reduction", reduction_of(RATIO))
    facts = (("version <fitted>", "41 <later> & more"),)
    return render(ReportData("refit-7", lake, fitted, points(labels, columns), facts, **more))


def test_report_is_well_formed_and_contains_numbers_of_the_fit() -> None:
    page = Page(report(["a", "b", "a"], lake="s3a://my & own/<lake>").html)
    assert "s3://my & own/<lake>" in page.cells
    assert page.after("version <fitted>") == "41 <later> & more"
    assert page.after("rows fitted") == "500"
    assert page.after("columns") == "9, of which 2 are constant"
    assert page.after("components kept") == "2, 85.00% of the variance"
    assert "3 of 12,345 rows, 2 labels" in page.cells


def test_report_loads_nothing_external() -> None:
    html = report(["a", "b"]).html
    tags = Page(html).tags
    assert not {"link", "iframe", "object", "base", "form", "a"} & {tag for tag, _ in tags}
    names = {"src", "href", "xlink:href", "srcset", "data", "action"}
    references = [str(attrs[name]) for _, attrs in tags for name in names & set(attrs)]
    assert len(references) > 2
    assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in references)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html


def test_content_security_policy_allows_only_the_embedded_script() -> None:
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


def test_every_figure_has_a_description() -> None:
    history = [DriftPoint("v1", 3.0, 0.1, 0.2), DriftPoint("v2", 3.0, 0.1, 0.2)]
    tags = Page(report(["a"], drift_history=history).html).tags
    descriptions = [attrs["alt"] for tag, attrs in tags if tag == "img"]
    descriptions += [attrs["aria-label"] for _, attrs in tags if attrs.get("role") == "img"]
    assert len(descriptions) == 3
    assert all(len(str(text)) > 20 for text in descriptions)
    assert "3 explain 90% of the variance; 4 explain 95% of the variance" in str(descriptions)


def test_report_supports_light_and_dark_mode() -> None:
    html = report(["a"]).html
    assert "color-scheme: light dark" in html
    assert "prefers-color-scheme: dark" in html
    svgs = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    assert any("var(--text)" in svg and "var(--grid)" in svg for svg in svgs)


def test_report_contains_all_points_as_float32() -> None:
    labels = [f"label {i % 7}" for i in range(500)]
    given = points(labels, 5)
    data = packed(render(ReportData("r", "lake", reduction_of(RATIO), given)).html)
    scores = np.frombuffer(data["scores"], "<f4").reshape(5, 500).T
    codes = np.frombuffer(data["codes"], "<u4")
    paths = data["paths"].decode().split("\n")
    assert data["count"] == 500
    assert data["ratios"] == RATIO[:5]
    assert paths != [
        path.removeprefix("file:") for path in given.paths
    ]  # shuffled, so that no label covers all others
    by_path = dict(zip(paths, zip(scores, codes, strict=True), strict=True))
    shown = [path.removeprefix("file:") for path in given.paths]
    for path, label, row in zip(shown, labels, given.scores, strict=True):
        score, code = by_path[path]
        assert f"label {code}" == label
        np.testing.assert_allclose(score, row, rtol=1e-6)


def test_size_of_the_largest_report_is_bounded() -> None:
    random = np.random.default_rng(0)
    labels = [f"Apple Braeburn {number % 131}" for number in range(100_000)]
    numbers = random.integers(10**9, size=len(labels))
    names = zip(labels, numbers, strict=True)
    paths = [f"s3a://team/photographs/fruits/{name}/{number}_100.jpg" for name, number in names]
    thumbnails = {path: random.bytes(3000) for path in paths[:280]}
    scores = random.normal(size=(len(labels), 8)).astype(np.float32)
    given = Points(paths, labels, scores, len(labels), thumbnails)
    pictures = Thumbnails({path: random.bytes(4000) for path in paths[-50:]})
    data = ReportData(
        "r",
        "lake",
        reduction_of([0.1] * 9),
        given,
        quarantine={"corrupt": 50},
        quarantined=[NotableImage(path, "corrupt", "x" * 500) for path in paths[-50:]],
        quarantine_thumbnails=pictures,
    )
    html = render(data).html
    assert 7_500_000 < len(html) < 8_000_000


def test_names_in_the_data_are_escaped() -> None:
    path = "file:/a\nb/</script><script>alert(1)</script>\u202e.jpg"
    given = Points([path], [path], np.zeros((1, 2)), 1, {path: b"JPEG"})
    html = render(ReportData("r", "lake", reduction_of(RATIO), given)).html
    assert [tag for tag, _ in Page(html).tags].count("script") == 2
    data = packed(html)
    assert data["paths"].decode() == path.removeprefix("file:").replace("\n", "\\n").replace(
        "\u202e", "\\u202e"
    )
    assert data["thumbnails"] == {"0": "data:image/jpeg;base64,SlBFRw=="}


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "a & b", "\"quoted\" 'label'"])
def test_labels_are_escaped(label: str) -> None:
    html = report([label, label, "other"], label_shifts={label: 0.5}, quarantine={label: 7}).html
    page = Page(html)
    assert page.after(label) == "2"
    assert page.cells.count(label) == 4  # in the list, in two tables, in the quarantine
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_each_label_is_listed_with_count_and_unique_marker() -> None:
    labels = [f"label {number:03}" for number in range(131)]
    page = Page(report([*labels, "label 007"]).html)
    assert page.after("label 007") == "2"
    assert page.after("label 130") == "1"
    colors = [attrs["color"] for tag, attrs in page.tags if tag == "svg" and "color" in attrs]
    shapes = [attrs["d"] for tag, attrs in page.tags if tag == "path"]
    assert len(set(zip(colors, shapes, strict=False))) == 131


def test_labels_with_the_fewest_images_share_one_entry() -> None:
    labels = [f"label {number:04}" for number in range(1500)]
    more = [label for label in labels[500:] for _ in range(2)]
    result = report([*labels, *more])
    page = Page(result.html)
    assert "3,500 of 12,345 rows, 1,500 labels" in result.html
    assert page.after("label 0500") == page.after("label 1499") == "3"
    assert page.after("(500 other labels)") == "500"
    assert "label 0499" not in page.cells
    codes = np.frombuffer(packed(result.html)["codes"], "<u4")
    assert np.bincount(codes).tolist() == [3] * 1000 + [500]


def test_table_contains_mean_and_standard_deviation_of_each_label() -> None:
    scores = np.array([[1.0, 10.0], [3.0, 20.0], [-5.0, 0.0]])
    given = Points(["p", "q", "r"], ["b", "b", "a"], scores, 3)
    page = Page(render(ReportData("r", "lake", reduction_of(RATIO), given)).html)
    start = page.cells.index("component 2") + 1
    assert page.cells[start : start + 8] == [
        "a",
        "1",
        "-5.00 ± 0.00",
        "0.00 ± 0.00",
        "b",
        "2",
        "2.00 ± 1.00",
        "15.00 ± 5.00",
    ]


def test_drift_and_quarantine_are_shown_or_reported_as_absent() -> None:
    page = Page(report(["a"]).html)
    assert "There is no refit of an earlier version to compare with yet." in page.cells
    assert "The lake has no quarantine table." in page.cells
    page = Page(report(["a"], quarantine={}).html)
    assert "No image was in quarantine when this report was created." in page.cells
    page = Page(
        report(
            ["a"],
            drift_history=[
                DriftPoint("v1", 3.25, 0.125, 0.5),
                DriftPoint("v4", 20.5, 0.75, 1.5, frozenset({"angle", "label"})),
            ],
            refits=[("refit", "rows"), ("r-4", "77")],
            label_shifts={"Fig": 1.5},
            new_labels={"<b>Kiwi": 1234},
            vanished_labels={f"label {i}": 70 - i for i in range(60)},
            quarantine={"empty": 2, "corrupt": 31},
        ).html
    )
    text = " ".join(page.cells)
    assert (
        "(version v4): correlation matrix rotated by 20.5°, mean shifted by 0.75 standard deviations"
        in text
    )
    assert page.after("r-4") == "77"
    assert page.after("Fig") == "1.50"
    assert "New labels since the baseline: 1" in page.cells
    assert page.after("<b>Kiwi") == "1,234"
    assert "Vanished labels since the baseline: 60, of which 50 are shown" in page.cells
    assert page.after("label 49") == "21"
    assert "label 50" not in page.cells
    assert "33 images were in quarantine when this report was created." in page.cells
    assert page.cells.index("corrupt") < page.cells.index("empty")
    assert page.after("corrupt") == "31"


def test_drift_of_a_single_refit_is_text_without_an_empty_chart() -> None:
    result = report(["a"], drift_history=[DriftPoint("v1", 3.25, 0.125, 0.5)])
    assert "rotated by 3.2°" in " ".join(Page(result.html).cells)
    assert "Drift of each refit" not in result.html
    assert set(result.plots) == {"scatter.png", "variance.png"}


def test_components_for_target_ratios_are_listed() -> None:
    page = Page(report(["a"]).html)
    found = [page.after(f"{ratio}% of the variance") for ratio in (90, 95, 99)]
    assert found == ["3", "4", "6"]


def test_note_appears_only_if_rows_limit_the_components() -> None:
    limited = Page(report(["a"], reduction=reduction_of(RATIO, count=8)).html)
    note = next(cell for cell in limited.cells if "number of rows is the limit" in cell)
    assert "Only 8 rows were fitted" in note
    assert "7 components" in note
    assert "would grow" in note
    assert not any("limit" in cell for cell in Page(report(["a"]).html).cells)


@pytest.mark.parametrize("columns", [1, 2])
def test_labels_in_any_script_are_drawn_without_warning(columns: int) -> None:
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


def test_single_column_with_one_component_is_rendered() -> None:
    rows = np.arange(6.0)[:, np.newaxis]
    fitted = fit(Moments.from_rows(rows, rows[0]), FitOptions(components=1))
    given = Points(list("abcdef"), ["a", "b"] * 3, fitted.transform(rows), 6)
    page = Page(render(ReportData("r", "lake", fitted, given)).html)
    assert page.after("99% of the variance") == "1"


@pytest.mark.parametrize(
    ("labels", "shape"), [(["a"], (2, 2)), (["a"], (1, 0)), (["a"], (1,)), ([], (0, 2))]
)
def test_points_that_do_not_fit_their_labels_are_rejected(
    labels: list[str], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=f"do not fit {len(labels)} labels"):
        Points(["p"] * len(labels), labels, np.zeros(shape), 9)
