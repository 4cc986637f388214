"""The page of a refit as people use it, in headless Chromium; what is on it is told by the pixels of the window."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from batch_pca.report.markers import mark
from batch_pca.report.plots import Movement
from batch_pca.report.render import Points, ReportData, render
from streaming.sanitize import escape_text
from support.browser import Browser, chromium
from support.hostile_names import NAMES
from support.report_pages import RATIO, reduction_of

pytestmark = pytest.mark.slow

ENTER, TAB, ESCAPE = "\ue007", "\ue004", "\ue00c"
LABELS = ("cloud", "east", "north")
READY = (
    "!document.getElementById('explorer').hidden && document.getElementById('plot').dataset.points"
)


def jpeg(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def page_of_100_000() -> str:
    """A cloud around the origin; one image far in the east on component 1, one in the north on 2, in the south on 3."""
    scores = np.random.default_rng(0).normal(size=(100_000, 3))
    scores[0], scores[1] = (60, 0, 0), (0, 30, -30)
    labels = ["east", "north", *["cloud"] * 99_998]
    paths = [f"s3a://fruits/{label}/{number}.jpg" for number, label in enumerate(labels)]
    points = Points(paths, labels, scores, 250_000, {paths[0]: jpeg("#00ff00")})
    moves = [Movement("v1", 3.0, 0.1, 0.2, False), Movement("v4", 20.5, 0.7, 1.5, True)]
    more: dict[str, Any] = {"moves": moves, "quarantine": {"empty": 2}, "document": "{}"}
    return render(ReportData("r-7", "s3a://b/lake", reduction_of(RATIO), points, **more)).html


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(page_of_100_000(), encoding="utf-8")
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
    """Scroll to the plot."""
    browser.run("document.getElementById('plot').scrollIntoView({block: 'center'})")


def plot_of(browser: Browser) -> NDArray[np.int_]:
    """The pixels of the plot, (height, width, 3), once all points are drawn."""
    browser.wait("document.getElementById('plot').dataset.points === '100000'")
    script = (
        "const b = document.getElementById('plot').getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom]"
    )
    box = [round(edge) for edge in browser.run(script)]
    picture = Image.open(io.BytesIO(browser.screenshot())).convert("RGB").crop(box)
    return np.asarray(picture, dtype=int)


def middle_of(pixels: NDArray[np.int_], label: str, page: int = 255) -> tuple[float, float] | None:
    """Where in the plot (x, y) the mark of a label is, by its colour; None where it is not to be seen."""
    text = mark(LABELS.index(label)).colour
    colour = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)])
    drawn = np.round(0.8 * colour + 0.2 * page)
    rows, columns = np.nonzero(np.abs(pixels - drawn).max(axis=2) <= 8)
    return (float(columns.mean()), float(rows.mean())) if len(rows) > 2 else None


def unsettle(browser: Browser) -> None:
    """What is done next has the points drawn anew, and `plot_of` waits for that."""
    browser.run("document.getElementById('plot').dataset.points = ''")


def see(browser: Browser, label: str) -> tuple[float, float]:
    found = middle_of(plot_of(browser), label)
    assert found, f"{label} is not to be seen"
    return found


def press(browser: Browser, key: str) -> None:
    """Press a key on the plot, and wait until it rests."""
    browser.run("document.getElementById('plot').focus()")
    unsettle(browser)
    browser.press(key)
    browser.wait("document.getElementById('plot').dataset.points === '100000'")


def tip(browser: Browser) -> str:
    text: str = browser.run("return document.getElementById('tip').innerText")
    return text


def choose(browser: Browser, menu: str, value: str) -> None:
    browser.run(
        "const menu = document.getElementById(arguments[0]); menu.value = arguments[1];"
        "menu.dispatchEvent(new Event('change', {bubbles: true}))",
        menu,
        value,
    )


def test_a_hundred_thousand_points_are_drawn_and_the_console_says_nothing(browser: Browser) -> None:
    pixels = plot_of(browser)
    assert all(middle_of(pixels, label) for label in LABELS)
    assert float(browser.run("return document.getElementById('plot').dataset.milliseconds")) < 5000
    loaded = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert browser.console_messages() == []


def test_pointing_at_a_mark_tells_which_image_it_is_and_shows_its_picture(browser: Browser) -> None:
    browser.move_pointer("#plot", *see(browser, "east"))
    assert tip(browser).split("\n")[:2] == ["east", "s3a://fruits/east/0.jpg"]
    assert "component 1: 60.00, component 2: 0.000" in tip(browser)
    shown = "document.querySelector('#tip img')?.naturalWidth"
    assert browser.wait(shown) == 96
    browser.move_pointer("#plot", *see(browser, "north"))
    assert "s3a://fruits/north/1.jpg" in tip(browser)
    assert not browser.run(f"return {shown}")
    browser.move_pointer("#plot", 5, 5)
    assert browser.run("return document.getElementById('tip').hidden")


def test_what_is_clicked_stays_until_it_is_closed_and_can_be_copied(browser: Browser) -> None:
    browser.click("#plot", *see(browser, "north"))
    browser.move_pointer("#plot", *see(browser, "east"))
    assert "s3a://fruits/north/1.jpg" in tip(browser)
    style = browser.run("return getComputedStyle(document.getElementById('tip')).pointerEvents")
    assert style == "auto"
    browser.press(ESCAPE)
    assert browser.run("return document.getElementById('tip').hidden")
    browser.click("#plot", *see(browser, "north"))
    browser.click("#plot", 5, 5)
    assert browser.run("return document.getElementById('tip').hidden")


def test_pictures_are_drawn_in_the_plot_where_their_marks_are(browser: Browser) -> None:
    x, y = see(browser, "east")
    unsettle(browser)
    browser.run("document.getElementById('pictures').click()")
    pixels = plot_of(browser)[round(y) - 10 : round(y) + 10, round(x) - 10 : round(x) + 10]
    assert (np.abs(pixels - (0, 255, 0)).max(axis=2) < 10).mean() > 0.9
    browser.move_pointer("#plot", x + 15, y + 15)  # on the picture, beside the mark
    assert "s3a://fruits/east/0.jpg" in tip(browser)


def test_zoom_by_key_and_wheel_keeps_what_is_in_the_middle_or_below_the_pointer(
    browser: Browser,
) -> None:
    (x, y), (east, _) = see(browser, "north"), see(browser, "east")
    press(browser, "-")
    (x2, _), (east2, _) = see(browser, "north"), see(browser, "east")
    assert (east2 - x2) * 1.5 == pytest.approx(east - x, abs=4)
    press(browser, "0")
    assert see(browser, "north") == pytest.approx((x, y), abs=2)
    unsettle(browser)
    browser.wheel("#plot", (x, y), -400)
    assert see(browser, "north") == pytest.approx((x, y), abs=4)
    assert middle_of(plot_of(browser), "east") is None  # out of the window


def test_the_page_scrolls_over_the_plot_until_it_is_clicked(browser: Browser) -> None:
    before = browser.run("return scrollY")
    place = see(browser, "north")
    browser.wheel("#plot", (300, 300), 200)
    browser.wait(f"scrollY > {before}")
    show(browser)
    assert see(browser, "north") == pytest.approx(place, abs=2)


def test_dragging_moves_the_points(browser: Browser) -> None:
    x, y = see(browser, "north")
    unsettle(browser)
    browser.drag("#plot", (300, 300), (380, 350))
    assert see(browser, "north") == pytest.approx((x + 80, y + 50), abs=3)


def test_labels_are_switched_off_and_on_again(browser: Browser) -> None:
    def click(selector: str) -> None:
        browser.run(
            "document.getElementById('plot').dataset.points = '';"
            "document.querySelector(arguments[0]).click()",
            selector,
        )

    click("#labels li:nth-child(2) input")
    pixels = plot_of(browser)
    assert [bool(middle_of(pixels, label)) for label in LABELS] == [True, False, True]
    click("#none")
    assert not any(middle_of(plot_of(browser), label) for label in LABELS)
    browser.run(
        "const find = document.getElementById('find'); find.value = 'NOR';"
        "find.dispatchEvent(new Event('input'))"
    )
    click("#all")  # of those that are listed
    pixels = plot_of(browser)
    assert [bool(middle_of(pixels, label)) for label in LABELS] == [False, False, True]


def test_the_components_are_chosen_and_labels_can_have_a_strip_each(browser: Browser) -> None:
    assert see(browser, "north")[1] < see(browser, "cloud")[1] - 100
    unsettle(browser)
    choose(browser, "up", "2")
    assert see(browser, "north")[1] > see(browser, "cloud")[1] + 100
    unsettle(browser)
    choose(browser, "up", "label")
    heights = [see(browser, label)[1] for label in LABELS]
    assert heights == sorted(heights)
    assert heights[2] - heights[0] > 200


def test_all_of_it_works_by_keyboard_alone(browser: Browser) -> None:
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(14):
        browser.press(TAB)
        reached.append(browser.run("return document.activeElement.id"))
    for name in ("across", "up", "closer", "farther", "whole", "pictures", "plot", "find", "all"):
        assert name in reached
    press(browser, "0")
    browser.press(ENTER)  # the cloud is not in the middle: the nearest image of all is told
    said = browser.run("return document.getElementById('said').textContent")
    assert "s3a://fruits/cloud/" in said
    browser.press(ESCAPE)
    assert browser.run("return document.getElementById('tip').hidden")


def test_everything_that_can_be_operated_has_a_name_and_every_picture_words(
    browser: Browser,
) -> None:
    nameless = browser.run(
        "return [...document.querySelectorAll('button,input,select,canvas,[role=img],[role=region]')]"
        ".filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert browser.run("return [...document.images].every((e) => e.alt || e.closest('#tip'))")


def test_the_page_is_dark_or_light_as_the_reader_prefers_and_changes_with_it(
    browser: Browser,
) -> None:
    for scheme, ground in (("dark", 22), ("light", 255)):
        unsettle(browser)
        browser.set_color_scheme(scheme)
        assert middle_of(plot_of(browser), "east", ground)
        window = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
        assert window.getpixel((5, 5))[0] == ground  # type: ignore[index]
        ink = browser.run("return getComputedStyle(document.querySelector('figure text')).fill")
        brightness = sum(map(int, ink.removeprefix("rgb(").rstrip(")").split(",")))
        assert (brightness > 380) == (scheme == "dark")


def test_names_from_outside_are_shown_and_do_nothing(window: Browser, tmp_path: Path) -> None:
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
    window.run("document.getElementById('none').click(); document.getElementById('plot').focus()")
    for place, name in enumerate(sorted(NAMES)):
        box = f"document.querySelectorAll('#labels input')[{place}].click()"
        window.run(box)
        window.press(ENTER)
        told = window.run("return document.getElementById('tip').textContent")
        assert told.startswith(escape_text(name) + escape_text(f"file:/photos/{name}/1.jpg"))
        window.run(box)
    assert window.run("return document.querySelectorAll('script').length") == 2
    assert window.console_messages() == []
    # Were there markup in the page that runs something, the policy would not let it.
    window.run(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); const d = document.createElement('div');"
        "d.innerHTML = '<img src=x onerror=\"window.ran = 1\">'; document.body.append(d)"
    )
    window.wait("document.querySelector('img[src=x]').complete")
    assert window.run("return window.ran === undefined")
    assert "Content Security Policy" in " ".join(window.console_messages())
