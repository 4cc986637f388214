"""The HTML page of `pomona similar`: images side by side, in one file that works offline."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pomona.output.files import output_errors
from pomona.similarity.search import SimilarityResult
from streaming.counts import format_count
from streaming.images.display import ImageViewer, NotDisplayed
from streaming.images.isolated_decode import IsolatedDecoder
from streaming.lake.history import known_sources
from streaming.lake.layout import Lake
from streaming.sanitize import escape_html
from streaming.storage.write_file import replace_file

_IMAGE_RETRY_TIMEOUT = 10.0  # seconds; the page shows a reason instead of the image after that
_CSS = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem}ol{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));
gap:1rem}li{border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:8px;padding:.6rem}
li.query{border:3px solid}img,.none{width:100%;aspect-ratio:1;background:#fff;border-radius:4px}
.none{display:grid;place-items:center;color:#333}b,small{display:block}"""


def write_report(lake: Lake, result: SimilarityResult, file: Path) -> None:
    """Write the page of a result in a lake to a file; ExternalError if the file cannot be written."""
    page = render_report(lake, result).encode()
    with output_errors(f"--report {file}"):
        replace_file(file, page)


def render_report(lake: Lake, result: SimilarityResult) -> str:
    """Render a result as HTML.

    The images are read from their source and embedded. If one may not or cannot be shown, the page names the reason.
    """
    with IsolatedDecoder() as decoder:
        viewer = ImageViewer(
            known_sources(lake),
            decoder,
            size=224,
            quality=90,
            retry_timeout=_IMAGE_RETRY_TIMEOUT,
        )
        items = "".join(_items(result, viewer))
    label, votes = result.votes[0] if result.votes else ("none", 0)
    title = escape_html(f"Images similar to {result.image}")
    vote = escape_html(
        f"Predicted label: {label} ({votes} of {len(result.neighbors)} nearest neighbors)"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{_CSS}</style></head><body>
<h1>{title}</h1><p>{vote}</p>
<p>Compared with {format_count(result.rows, "image")} of version {result.version} of the features; shown as the network
sees them.</p>
<ol>{items}</ol></body></html>
"""


def _items(result: SimilarityResult, viewer: ImageViewer) -> Iterator[str]:
    label = escape_html(result.label or "not in the lake")
    image = _image(
        result.image, partial(viewer.load_named_by_user, result.image, result.content_hash)
    )
    yield f'<li class="query">{image}<b>query: {label}</b><small>{escape_html(result.image)}</small></li>'
    for neighbor in result.neighbors:
        image = _image(neighbor.path, partial(viewer.load, neighbor.path, neighbor.content_hash))
        yield (
            f"<li>{image}<b>{escape_html(neighbor.label)}</b>"
            f"<small>cosine {neighbor.cosine:.6f}</small><small>{escape_html(neighbor.path)}</small></li>"
        )


def _image(path: str, load: Callable[[], bytes]) -> str:
    """Return an `img` element with the thumbnail embedded, or a `div` with the reason why there is none."""
    try:
        thumbnail = base64.b64encode(load()).decode()
    except NotDisplayed as error:
        return f'<div class="none">no thumbnail: {escape_html(str(error))}</div>'
    return (
        f'<img alt="{escape_html(f"The image {path}")}" src="data:image/jpeg;base64,{thumbnail}">'
    )
