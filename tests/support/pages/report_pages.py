"""Parse the HTML report of a refit with html.parser, and decode its embedded data."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from batch_pca.pca.fit import Reduction


class Page(HTMLParser):
    """The text, tags and attributes of a page; fails if tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._continues = False  # after <wbr>, which allows a line break in a text
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._continues = tag == "wbr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "script", "svg"} & set(self.open):
            if self._continues:
                self.cells[-1] += data.strip()
            else:
                self.cells.append(data.strip())
        self._continues = False

    def after(self, text: str) -> str:
        return self.cells[self.cells.index(text) + 1]


def reduction_of(ratio: list[float], count: int = 500, kept: int = 2) -> Reduction:
    """Return a fit with these explained variance ratios; 2 additional columns are constant."""
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


def packed(html: str) -> dict[str, Any]:
    """Return the data that the script of the page reads, with its arrays decoded."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    for name in ("scores", "codes", "paths"):
        data[name] = gzip.decompress(base64.b64decode(data[name]))
    return data


VOID = {"img", "meta", "input", "br", "wbr"}
