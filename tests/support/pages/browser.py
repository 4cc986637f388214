"""Control headless Chromium over the WebDriver protocol of chromedriver."""

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

# Chromium's sandbox does not start for root; the other options disable its own network requests.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,1000"),
)
Point = tuple[float, float]
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """A browser window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Load a file and wait until it is loaded."""
        _request(f"{self._session}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function in the page, and return its result."""
        return _request(
            f"{self._session}/execute/sync", {"script": script, "args": list(arguments)}
        )

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """Poll an expression until it is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(f"return {expression}")):
            assert time.monotonic() < deadline, f"not within {seconds} s: {expression}"
            time.sleep(0.02)
        return found

    def press(self, key: str) -> None:
        """Press a key, given as a letter or W3C code, in the focused element."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keys", "actions": strokes})

    def move_pointer(self, selector: str, x: float, y: float) -> None:
        """Move the pointer to a point in an element, relative to its upper left corner."""
        self._act({"type": "pointer", "id": "mouse", "actions": [self._move(selector, (x, y))]})

    def click(self, selector: str, x: float, y: float) -> None:
        """Click at a point in an element."""
        self.drag(selector, (x, y), (x, y))

    def drag(self, selector: str, start: Point, end: Point) -> None:
        """Press the mouse button at a point in an element, move the pointer, and release the button."""
        down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        actions = [self._move(selector, start), down, self._move(selector, end), up]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def wheel(self, selector: str, point: Point, down: int) -> None:
        """Turn the mouse wheel at a point in an element."""
        scroll = {**self._move(selector, point), "type": "scroll", "deltaX": 0, "deltaY": down}
        self._act({"type": "wheel", "id": "wheel", "actions": [scroll]})

    def _move(self, selector: str, point: Point) -> dict[str, Any]:
        script = "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.x, b.y]"
        left, top = self.run(script, selector)
        x, y = round(left + point[0]), round(top + point[1])
        return {"type": "pointerMove", "x": x, "y": y, "duration": 0}

    def set_color_scheme(self, scheme: str) -> None:
        """Set the preferred color scheme: ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": [feature]}}
        _request(f"{self._session}/goog/cdp/execute", command)

    def set_width(self, width: int) -> None:
        """Set the width of the window in CSS pixels; 0 restores the original size."""
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        name = "setDeviceMetricsOverride" if width else "clearDeviceMetricsOverride"
        command = {"cmd": f"Emulation.{name}", "params": size if width else {}}
        _request(f"{self._session}/goog/cdp/execute", command)

    def console_messages(self) -> list[str]:
        """Return the messages of the console since the last call."""
        return [
            line["message"] for line in _request(f"{self._session}/se/log", {"type": "browser"})
        ]

    def screenshot(self) -> bytes:
        """Return the window as PNG."""
        image: str = _request(f"{self._session}/screenshot")
        return base64.b64decode(image)

    def _act(self, *sources: dict[str, Any]) -> None:
        _request(f"{self._session}/actions", {"actions": list(sources)})


def _request(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, method=method)
    try:
        with _NO_PROXY.open(request, timeout=120) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{url}: {json.load(error)['value']['message']}")


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a new profile; skip the test if it is not installed.

    Pages cannot load anything over the network: no host name resolves.
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
        line = next(line for line in process.stdout if "successfully on port" in line)
        root = f"http://127.0.0.1:{int(line.split()[-1].rstrip('.'))}"
        options = {
            "binary": browser,
            "args": [
                *_FLAGS,
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={profile}",
            ],
        }
        required = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        body = {"capabilities": {"alwaysMatch": required}}
        session = f"{root}/session/{_request(f'{root}/session', body)['sessionId']}"
        yield Browser(session)
    finally:
        if session:
            _request(session, method="DELETE")
        process.kill()
        process.wait()
