"""The page and its plots: parsed with html.parser and read back with Pillow."""

from __future__ import annotations

import io
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from batch_pca.fit import FitOptions, Reduction, fit
from batch_pca.moments import Moments
from batch_pca.report import COLOURS, SHAPES, Report, ReportData, render

pytestmark = pytest.mark.slow  # matplotlib draws for ten seconds in all

VOID = {"img", "meta"}


class Page(HTMLParser):
    """The text, tags and references of a page; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.cells.append(data.strip())

    def after(self, text: str) -> str:
        return self.cells[self.cells.index(text) + 1]


def reduction_of(ratio: list[float], count: int = 500, kept: int = 2) -> Reduction:
    """A fit of known ratios; 2 columns more than components are constant."""
    width = len(ratio) + 2
    return Reduction(
        mean=np.zeros(width),
        std=np.ones(width),
        components=np.eye(kept, width),
        explained_variance=np.array(ratio) * len(ratio),
        explained_variance_ratio=np.array(ratio),
        count=count,
        constant_columns=2,
        limited_by_rows=count - 1 == len(ratio),
    )


RATIO = [0.60, 0.25, 0.06, 0.05, 0.02, 0.015, 0.005]  # together 60, 85, 91, 96, 98, 99.5, 100 %


def report(
    labels: list[str], columns: int = 2, reduction: Reduction | None = None, lake: str = "lake"
) -> Report:
    points = np.random.default_rng(0).normal(size=(len(labels), columns))
    fitted = reduction or reduction_of(RATIO)
    facts = (("version <fitted>", "41 & later"),)
    return render(ReportData("refit-7", lake, facts, labels, points, 12_345, fitted))


def test_the_page_is_whole_and_names_what_was_fitted() -> None:
    page = Page(report(["a", "b", "a"], lake="s3a://my & own/<lake>").html)
    assert page.after("lake") == "s3a://my & own/<lake>"
    assert page.after("version <fitted>") == "41 & later"
    assert page.after("rows fitted") == "500"
    assert page.after("columns") == "9, of which 2 never vary"
    assert page.after("components kept") == "2, 85.00% of the variance"
    assert "3 of 12,345 rows, 2 labels" in page.cells


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = report(["a", "b"]).html
    tags = Page(html).tags
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in tags}
    references = [attrs[name] for _, attrs in tags for name in ("src", "href") if name in attrs]
    assert len(references) == 2
    assert all(str(reference).startswith("data:image/png;base64,") for reference in references)
    assert "url(" not in html
    assert "@import" not in html


def test_every_picture_says_in_words_what_it_shows() -> None:
    pictures = [attrs for tag, attrs in Page(report(["a"]).html).tags if tag == "img"]
    assert all(len(str(picture["alt"])) > 20 for picture in pictures)


def test_the_page_can_be_read_in_light_and_in_dark() -> None:
    html = report(["a"]).html
    assert "color-scheme:light dark" in html
    assert "prefers-color-scheme:dark" in html


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "a & b", "\"quoted\" 'label'"])
def test_labels_are_text_and_never_markup(label: str) -> None:
    page = Page(report([label, label, "other"]).html)
    assert page.after(label) == "2"
    assert "script" not in {tag for tag, _ in page.tags}


def test_each_label_is_listed_with_its_count_and_a_mark_of_its_own() -> None:
    labels = [f"label {number:03}" for number in range(131)]
    page = Page(report([*labels, "label 007"]).html)
    assert page.after("label 007") == "2"
    assert page.after("label 130") == "1"
    colours = [attrs["style"] for tag, attrs in page.tags if tag == "b"]
    signs = [page.cells[page.cells.index(label) - 1] for label in labels]
    assert len(set(zip(colours, signs, strict=True))) == 131
    assert len(set(COLOURS)) * len(set(SHAPES)) == 132


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
@pytest.mark.parametrize("count", [1, 24, 131, 300])
def test_plots_are_png_of_a_size_that_can_be_read(columns: int, count: int) -> None:
    plots = report([f"label {number}" for number in range(count)] * 2, columns).plots
    assert list(plots) == ["scatter.png", "variance.png"]
    for content in plots.values():
        picture = Image.open(io.BytesIO(content))
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == 1300
        assert 390 <= picture.height <= 5200


def test_the_points_are_drawn_in_the_colour_of_their_label() -> None:
    content = report(["a"] * 30 + ["b"] * 30).plots["scatter.png"]
    above_the_legend = Image.open(io.BytesIO(content)).convert("RGB").crop((100, 20, 1280, 780))
    red, _, blue = (np.asarray(band, dtype=int) for band in above_the_legend.split())
    assert (blue - red > 100).sum() > 500  # the first colour
    assert (red - blue > 100).sum() > 500  # the second


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
    points = fitted.transform(rows)
    page = Page(render(ReportData("r", "lake", (), ["a", "b"] * 3, points, 6, fitted)).html)
    assert page.after("99% of the variance") == "1"


@pytest.mark.parametrize(("labels", "shape"), [(["a"], (2, 2)), (["a"], (1, 3)), ([], (0, 2))])
def test_points_that_do_not_fit_their_labels_are_refused(
    labels: list[str], shape: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=f"do not fit {len(labels)} labels"):
        ReportData("r", "lake", (), labels, np.zeros(shape), 9, reduction_of(RATIO))
