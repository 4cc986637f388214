"""Tests for the interactive report, in headless Chromium; most of them examine the pixels of the window."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from batch_pca.report.markers import marker_style
from batch_pca.report.outliers import NotableImage, find_notable_images
from batch_pca.report.plots import DriftPoint
from batch_pca.report.render import Points, ReportData, render
from streaming.sanitize import escape_text
from support.faults.hostile_names import NAMES
from support.pages.browser import Browser, chromium
from support.pages.report_pages import RATIO, reduction_of

pytestmark = [pytest.mark.slow, pytest.mark.long]

ENTER, TAB, ESCAPE = "\ue007", "\ue004", "\ue00c"
LABELS = ("cloud", "east", "north")
READY = (
    "!document.getElementById('explorer').hidden && document.getElementById('plot').dataset.points"
)


def jpeg(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), color).save(buffer, "JPEG")
    return buffer.getvalue()


def render_large_report() -> str:
    """Render a cloud around the origin and two distant images: "east" on component 1, "north" on 2 and -3."""
    scores = np.random.default_rng(0).normal(size=(100_000, 3))
    scores[0], scores[1] = (60, 0, 0), (0, 30, -30)
    labels = ["east", "north", *["cloud"] * 99_998]
    paths = [f"s3a://fruits/{label}/{number}.jpg" for number, label in enumerate(labels)]
    points = Points(paths, labels, scores, 250_000, {paths[0]: jpeg("#00ff00")})
    history = [
        DriftPoint("v1", 3.0, 0.1, 0.2),
        DriftPoint("v4", 20.5, 0.7, 1.5, frozenset({"angle", "label"})),
    ]
    more: dict[str, Any] = {"drift_history": history, "quarantine": {"empty": 2}, "document": "{}"}
    return render(ReportData("r-7", "s3a://b/lake", reduction_of(RATIO), points, **more)).html


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(render_large_report(), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, large: Path) -> Browser:
    window.set_color_scheme("light")
    window.console_messages()
    window.open(large)
    window.wait(READY)
    show(window)
    return window


def show(browser: Browser) -> None:
    """Scroll the plot into view."""
    browser.run("document.getElementById('plot').scrollIntoView({block: 'center'})")


def capture_plot(browser: Browser) -> NDArray[np.int_]:
    """Wait until all points are drawn, and return the pixels of the plot, shape (height, width, 3)."""
    browser.wait("document.getElementById('plot').dataset.points === '100000'")
    script = (
        "const b = document.getElementById('plot').getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom]"
    )
    box = [round(edge) for edge in browser.run(script)]
    image = Image.open(io.BytesIO(browser.screenshot())).convert("RGB").crop(box)
    return np.asarray(image, dtype=int)


def find_marker(
    pixels: NDArray[np.int_], label: str, background: int = 255
) -> tuple[float, float] | None:
    """Find the marker of a label in the plot by its color, and return (x, y); None if it is not visible."""
    text = marker_style(LABELS.index(label)).color
    color = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = np.round(0.8 * color + 0.2 * background)
    rows, columns = np.nonzero(np.abs(pixels - drawn).max(axis=2) <= 8)
    return (float(columns.mean()), float(rows.mean())) if len(rows) > 2 else None


def expect_redraw(browser: Browser) -> None:
    """Make `capture_plot` wait for the redraw that the next action causes."""
    browser.run("document.getElementById('plot').dataset.points = ''")


def position_of(browser: Browser, label: str) -> tuple[float, float]:
    """Return the position (x, y) of a label's marker in the plot."""
    found = find_marker(capture_plot(browser), label)
    assert found, f"{label} is not visible"
    return found


def press(browser: Browser, key: str) -> None:
    """Press a key on the plot, and wait for the redraw."""
    browser.run("document.getElementById('plot').focus()")
    expect_redraw(browser)
    browser.press(key)
    browser.wait("document.getElementById('plot').dataset.points === '100000'")


def tooltip(browser: Browser) -> str:
    text: str = browser.run("return document.getElementById('tooltip').innerText")
    return text


def select(browser: Browser, menu: str, value: str) -> None:
    browser.run(
        "const menu = document.getElementById(arguments[0]); menu.value = arguments[1];"
        "menu.dispatchEvent(new Event('change', {bubbles: true}))",
        menu,
        value,
    )


def test_hundred_thousand_points_are_drawn_without_console_messages(browser: Browser) -> None:
    pixels = capture_plot(browser)
    assert all(find_marker(pixels, label) for label in LABELS)
    assert float(browser.run("return document.getElementById('plot').dataset.milliseconds")) < 5000
    loaded = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert browser.console_messages() == []


def test_hovering_over_marker_shows_tooltip_with_thumbnail(browser: Browser) -> None:
    browser.move_pointer("#plot", *position_of(browser, "east"))
    assert tooltip(browser).split("\n")[:2] == ["east", "s3://fruits/east/0.jpg"]
    assert "component 1: 60.00, component 2: 0.000" in tooltip(browser)
    shown = "document.querySelector('#tooltip img')?.naturalWidth"
    assert browser.wait(shown) == 96
    browser.move_pointer("#plot", *position_of(browser, "north"))
    assert "s3://fruits/north/1.jpg" in tooltip(browser)
    assert not browser.run(f"return {shown}")
    browser.move_pointer("#plot", 5, 5)
    assert browser.run("return document.getElementById('tooltip').hidden")


def test_clicked_tooltip_stays_until_closed_and_can_be_selected(browser: Browser) -> None:
    browser.click("#plot", *position_of(browser, "north"))
    browser.move_pointer("#plot", *position_of(browser, "east"))
    assert "s3://fruits/north/1.jpg" in tooltip(browser)
    style = browser.run("return getComputedStyle(document.getElementById('tooltip')).pointerEvents")
    assert style == "auto"
    browser.press(ESCAPE)
    assert browser.run("return document.getElementById('tooltip').hidden")
    browser.click("#plot", *position_of(browser, "north"))
    browser.click("#plot", 5, 5)
    assert browser.run("return document.getElementById('tooltip').hidden")


def test_thumbnails_are_drawn_at_their_markers(browser: Browser) -> None:
    x, y = position_of(browser, "east")
    expect_redraw(browser)
    browser.run("document.getElementById('thumbnails').click()")
    pixels = capture_plot(browser)[round(y) - 10 : round(y) + 10, round(x) - 10 : round(x) + 10]
    assert (np.abs(pixels - (0, 255, 0)).max(axis=2) < 10).mean() > 0.9
    browser.move_pointer("#plot", x + 15, y + 15)  # on the thumbnail, beside the marker
    assert "s3://fruits/east/0.jpg" in tooltip(browser)


def test_zoom_keeps_center_by_key_and_pointer_position_by_wheel(
    browser: Browser,
) -> None:
    (x, y), (east, _) = position_of(browser, "north"), position_of(browser, "east")
    press(browser, "-")
    (x2, _), (east2, _) = position_of(browser, "north"), position_of(browser, "east")
    assert (east2 - x2) * 1.5 == pytest.approx(east - x, abs=4)
    press(browser, "0")
    assert position_of(browser, "north") == pytest.approx((x, y), abs=2)
    expect_redraw(browser)
    browser.wheel("#plot", (x, y), -400)
    assert position_of(browser, "north") == pytest.approx((x, y), abs=4)
    assert find_marker(capture_plot(browser), "east") is None  # outside the plot


def test_wheel_scrolls_page_until_plot_is_clicked(browser: Browser) -> None:
    before = browser.run("return scrollY")
    position = position_of(browser, "north")
    browser.wheel("#plot", (300, 300), 200)
    browser.wait(f"scrollY > {before}")
    show(browser)
    assert position_of(browser, "north") == pytest.approx(position, abs=2)


def test_drag_pans_the_plot(browser: Browser) -> None:
    x, y = position_of(browser, "north")
    expect_redraw(browser)
    browser.drag("#plot", (300, 300), (380, 350))
    assert position_of(browser, "north") == pytest.approx((x + 80, y + 50), abs=3)


def test_labels_can_be_deselected_and_filtered(browser: Browser) -> None:
    def click(selector: str) -> None:
        browser.run(
            "document.getElementById('plot').dataset.points = '';"
            "document.querySelector(arguments[0]).click()",
            selector,
        )

    click("#labels li:nth-child(2) input")
    pixels = capture_plot(browser)
    assert [bool(find_marker(pixels, label)) for label in LABELS] == [True, False, True]
    click("#select-none")
    assert not any(find_marker(capture_plot(browser), label) for label in LABELS)
    browser.run(
        "const filter = document.getElementById('filter'); filter.value = 'NOR';"
        "filter.dispatchEvent(new Event('input'))"
    )
    click("#select-all")  # only labels that match the filter
    pixels = capture_plot(browser)
    assert [bool(find_marker(pixels, label)) for label in LABELS] == [False, False, True]


def test_axes_can_show_other_components_or_one_strip_per_label(browser: Browser) -> None:
    assert position_of(browser, "north")[1] < position_of(browser, "cloud")[1] - 100
    expect_redraw(browser)
    select(browser, "y-axis", "2")
    assert position_of(browser, "north")[1] > position_of(browser, "cloud")[1] + 100
    expect_redraw(browser)
    select(browser, "y-axis", "label")
    heights = [position_of(browser, label)[1] for label in LABELS]
    assert heights == sorted(heights)
    assert heights[2] - heights[0] > 200


def test_names_are_drawn_at_the_medians_of_the_selected_labels(browser: Browser) -> None:
    def names() -> dict[str, tuple[float, float]]:
        capture_plot(browser)
        drawn = browser.run("return JSON.parse(document.getElementById('plot').dataset.names)")
        return {name: (x, y) for name, x, y, _ in drawn}

    drawn = names()
    assert set(drawn) == set(LABELS)
    for label in ("east", "north"):  # one image each: the name is above its marker
        x, y = position_of(browser, label)
        # A name near the edge is moved to be complete.
        assert drawn[label] == pytest.approx((x, y - 12), abs=20 if label == "east" else 3)
    pixels = capture_plot(browser)
    x, y = (round(value) for value in drawn["north"])
    assert (pixels[y - 10 : y, x - 15 : x + 15].max(axis=2) < 100).any()  # dark letters
    expect_redraw(browser)
    browser.run("document.querySelector('#labels li:nth-child(2) input').click()")
    assert set(names()) == {"cloud", "north"}
    expect_redraw(browser)
    browser.run("document.getElementById('names').click()")
    assert names() == {}


def test_search_finds_images_by_path_and_shows_them(browser: Browser) -> None:
    def search(text: str) -> list[str]:
        browser.run(
            "const e = document.getElementById('search'); e.value = arguments[0];"
            "e.dispatchEvent(new Event('input'))",
            text,
        )
        items = "[...document.querySelectorAll('#results button')].map((e) => e.textContent)"
        found: list[str] = browser.run(f"return {items}")
        return found

    assert search("EAST/0.J") == ["s3://fruits/east/0.jpg"]
    browser.run("document.getElementById('select-none').click()")
    expect_redraw(browser)
    browser.run("document.querySelector('#results button').click()")
    assert "s3://fruits/east/0.jpg" in tooltip(browser)
    x, y = position_of(browser, "east")  # selected again, and in the center
    size = browser.run("return [plot.clientWidth / 2, plot.clientHeight / 2]")
    assert (x, y) == pytest.approx(size, abs=3)
    found = search("cloud")
    assert len(found) == 100
    text = browser.run("return document.getElementById('found').textContent")
    assert text == "99998 images found, the first 100 are listed"
    assert search("no such image") == search("") == []


def test_everything_is_reachable_by_keyboard(browser: Browser) -> None:
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(16):
        browser.press(TAB)
        reached.append(browser.run("return document.activeElement.id"))
    for name in (
        "x-axis",
        "y-axis",
        "zoom-in",
        "zoom-out",
        "show-all",
        "names",
        "thumbnails",
        "plot",
        "search",
        "filter",
        "select-all",
    ):
        assert name in reached
    press(browser, "0")
    browser.press(ENTER)  # the image nearest to the center, although no marker is there
    status = browser.run("return document.getElementById('status').textContent")
    assert "s3://fruits/cloud/" in status
    browser.press(ESCAPE)
    assert browser.run("return document.getElementById('tooltip').hidden")


def test_controls_and_figures_have_accessible_names(
    browser: Browser,
) -> None:
    nameless = browser.run(
        "return [...document.querySelectorAll('button,input,select,canvas,[role=img],[role=region]')]"
        ".filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert browser.run("return [...document.images].every((e) => e.alt || e.closest('#tooltip'))")


def test_report_follows_preferred_color_scheme(
    browser: Browser,
) -> None:
    for scheme, background in (("dark", 22), ("light", 255)):
        expect_redraw(browser)
        browser.set_color_scheme(scheme)
        assert find_marker(capture_plot(browser), "east", background)
        window = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
        assert window.getpixel((5, 5))[0] == background  # type: ignore[index]
        color = browser.run("return getComputedStyle(document.querySelector('figure text')).fill")
        brightness = sum(map(int, color.removeprefix("rgb(").rstrip(")").split(",")))
        assert (brightness > 380) == (scheme == "dark")


# Words of tables and headings that a line break divides. Paths may be broken after a slash, names after a hyphen.
BROKEN_WORDS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (!node.parentElement.closest("th, td, h1, h2, h3, dt, dd, legend, figcaption")) continue;
  for (const match of node.data.matchAll(/[^\\s\\/-]+/g)) {
    if (match[0].length > 16) continue;
    const range = document.createRange();
    range.setStart(node, match.index);
    range.setEnd(node, match.index + match[0].length);
    if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) found.push(match[0]);
  }
}
return found;
"""
# Elements that reach beyond the window, or whose content must be scrolled sideways.
OVERFLOWING = """
const edge = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")].filter((e) => !e.closest("svg svg, .visually-hidden, #labels"))
  .filter((e) => e.getBoundingClientRect().right > edge + 1
    || (e.matches(".scrollable, html") && e.scrollWidth > e.clientWidth + 1))
  .map((e) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`);
"""


def render_full_report() -> str:
    """Render a report with all sections, long names and long values."""
    labels = [f"{name} {number}" for name in ("Cantaloupe", "Pomegranate") for number in range(12)]
    labels = [label for label in labels for _ in range(20)] + ["x" * 80]
    scores = np.random.default_rng(0).normal(size=(len(labels), 3)) * 1000
    source = "s3a://a-bucket-with-a-long-name/photographs/2026/fruits"
    paths = [f"{source}/{label}/{number}.jpg" for number, label in enumerate(labels)]
    exceeded = "correlation matrix rotated by 21.5° (threshold 15°); mean shifted by 0.62 standard deviations"
    head = ("refit", "features version", "rows", "components", "explained variance")
    head += ("correlation rotation", "mean shift", "thresholds exceeded")
    refit = "20261126T124044Z-v3-d608"
    row = (refit, "12345", "1,234,567", "1,280", "95.0%", "21.5°", "0.62", exceeded)
    data = ReportData(
        refit,
        "s3a://another-bucket/lake",
        reduction_of(RATIO),
        Points(paths, labels, scores, 1_234_567),
        [("Weights", f"imagenet, SHA-256 {'0123456789abcdef' * 4}"), ("Drift", exceeded)],
        drift_history=[DriftPoint("v1", 3.0, 0.1, 0.2), DriftPoint("v4", 20.5, 0.7, 1.5)],
        refits=(head, row, row),
        label_shifts={"Cantaloupe 1": 1.5, "x" * 80: 1.0},
        new_labels={"Pomegranate 11": 1_234_567},
        vanished_labels={"Cherry Wax Yellow 2": 3},
        quarantine={"decompression_bomb": 12, "unsupported": 1_234_567},
        quarantined=[NotableImage(f"{source}/Cantaloupe 1/x.jpg", "too_many_pixels", exceeded)],
        source=source,
        created_at=datetime(2026, 11, 29, tzinfo=UTC),
        notable=find_notable_images(paths, labels, scores),
    )
    return render(data).html


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("full") / "report.html"
    page.write_text(render_full_report(), encoding="utf-8")
    return page


SMALLEST_PLOT_TEXT = """
return Math.min(...[...document.querySelectorAll('figure.panels text')].map(
    (e) => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b)))
"""


@pytest.mark.parametrize("width", [320, 390, 700, 1024, 1280])
def test_tables_fit_into_the_window_without_broken_words(
    window: Browser, full: Path, width: int
) -> None:
    window.set_width(width)
    try:
        window.open(full)
        window.wait(READY)
        window.run("for (const e of document.querySelectorAll('details')) e.open = true")
        assert window.run(BROKEN_WORDS) == []
        assert window.run(OVERFLOWING) == []
        assert window.run(SMALLEST_PLOT_TEXT) >= 7
        tables = "[...document.querySelectorAll('table')].every((e) => e.innerText.length > 10)"
        assert window.run(f"return {tables}")
    finally:
        window.set_width(0)


def test_hostile_names_are_shown_and_not_executed(window: Browser, tmp_path: Path) -> None:
    paths = [f"file:/photos/{name}/1.jpg" for name in NAMES]
    scores = np.column_stack([np.arange(len(NAMES)), np.zeros(len(NAMES))])
    points = Points(paths, list(NAMES), scores, len(NAMES))
    page = tmp_path / "hostile.html"
    data = ReportData(NAMES[9], NAMES[10], reduction_of(RATIO), points, quarantine={NAMES[11]: 1})
    page.write_text(render(data).html, encoding="utf-8")
    window.console_messages()
    window.open(page)
    window.wait(READY)
    show(window)
    names = "return [...document.querySelectorAll('#labels bdi')].map((e) => e.textContent)"
    assert sorted(window.run(names)) == sorted(map(escape_text, NAMES))
    window.run(
        "document.getElementById('select-none').click(); document.getElementById('plot').focus()"
    )
    for index, name in enumerate(sorted(NAMES)):
        click = f"document.querySelectorAll('#labels input')[{index}].click()"
        window.run(click)
        window.press(ENTER)
        text = window.run("return document.getElementById('tooltip').textContent")
        assert text.startswith(escape_text(name) + escape_text(f"/photos/{name}/1.jpg"))
        window.run(click)
    assert window.run("return document.querySelectorAll('script').length") == 2
    assert window.console_messages() == []
    # The content security policy also blocks injected scripts.
    window.run(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); const d = document.createElement('div');"
        "d.innerHTML = '<img src=x onerror=\"window.ran = 1\">'; document.body.append(d)"
    )
    window.wait("document.querySelector('img[src=x]').complete")
    assert window.run("return window.ran === undefined")
    assert "Content Security Policy" in " ".join(window.console_messages())
