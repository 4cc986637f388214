"""Headless Chromium, driven over the WebDriver protocol that chromedriver speaks: for looking at pages as people do."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Chromium's sandbox does not start for root; the rest keeps it from asking its maker anything.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,1000"),
)
Place = tuple[float, float]
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Load a file and wait for it."""
        _ask(f"{self._session}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function in the page; what it returns."""
        return _ask(f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """Ask again and again until an expression is true; its value."""
        until = time.monotonic() + seconds
        while not (found := self.run(f"return {expression}")):
            assert time.monotonic() < until, f"not within {seconds} s: {expression}"
            time.sleep(0.02)
        return found

    def press(self, key: str) -> None:
        """Press a key, by its letter or W3C code, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keys", "actions": strokes})

    def point(self, selector: str, x: float, y: float) -> None:
        """Move the pointer to a place in an element, from its upper left corner."""
        self._act({"type": "pointer", "id": "mouse", "actions": [self._move(selector, (x, y))]})

    def click(self, selector: str, x: float, y: float) -> None:
        """Click at a place in an element."""
        self.drag(selector, (x, y), (x, y))

    def drag(self, selector: str, start: Place, end: Place) -> None:
        """Press the button at a place in an element, move, and let go."""
        down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        actions = [self._move(selector, start), down, self._move(selector, end), up]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def wheel(self, selector: str, place: Place, down: int) -> None:
        """Turn the wheel at a place in an element."""
        scroll = {**self._move(selector, place), "type": "scroll", "deltaX": 0, "deltaY": down}
        self._act({"type": "wheel", "id": "wheel", "actions": [scroll]})

    def _move(self, selector: str, place: Place) -> dict[str, Any]:
        script = "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.x, b.y]"
        left, top = self.run(script, selector)
        x, y = round(left + place[0]), round(top + place[1])
        return {"type": "pointerMove", "x": x, "y": y, "duration": 0}

    def media(self, scheme: str) -> None:
        """Prefer a ``light`` or a ``dark`` page."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": [feature]}}
        _ask(f"{self._session}/goog/cdp/execute", command)

    def complaints(self) -> list[str]:
        """What the console has said since it was asked last."""
        return [line["message"] for line in _ask(f"{self._session}/se/log", {"type": "browser"})]

    def picture(self) -> bytes:
        """The window as PNG."""
        shot: str = _ask(f"{self._session}/screenshot")
        return base64.b64decode(shot)

    def _act(self, *sources: dict[str, Any]) -> None:
        _ask(f"{self._session}/actions", {"actions": list(sources)})


def _ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, method=method)
    try:
        with _NO_PROXY.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{url}: {json.load(error)['value']['message']}")


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start one with a new, empty profile; skips the test where there is none.

    A page may load nothing over the network: no name resolves.
    """
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not browser:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    session = ""
    try:
        assert process.stdout
        said = next(line for line in process.stdout if "successfully on port" in line)
        root = f"http://127.0.0.1:{int(said.split()[-1].rstrip('.'))}"
        options = {
            "binary": browser,
            "args": [
                *_FLAGS,
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={profile}",
            ],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        body = {"capabilities": {"alwaysMatch": wanted}}
        session = f"{root}/session/{_ask(f'{root}/session', body)['sessionId']}"
        yield Browser(session)
    finally:
        if session:
            _ask(session, method="DELETE")
        process.kill()
        process.wait()
