"""The HTML page of `pomona similar`: images side by side, in one file that works offline."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pomona.similarity.search import SimilarityResult
from streaming.errors import ExternalError
from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.sanitize import escape_html
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage
from streaming.storage.retry import retry_transient
from streaming.storage.write_file import is_replaceable, replace_file

_IMAGE_RETRY_TIMEOUT = 10.0  # seconds; the page shows an error in place of the image after that
_CSS = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem}ol{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));
gap:1rem}li{border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:8px;padding:.6rem}
li.query{border:3px solid}img,.none{width:100%;aspect-ratio:1;background:#fff;border-radius:4px}
.none{display:grid;place-items:center;color:#333}b,small{display:block}"""


def write_report(result: SimilarityResult, file: Path) -> None:
    """Write the page to a file; ExternalError if the file cannot be written."""
    if not is_replaceable(file):
        raise ExternalError(f"--report {file}: is a link or not a regular file: give another file")
    try:
        replace_file(file, render_report(result).encode())
    except OSError as error:
        raise ExternalError(
            f"--report {file}: {error.strerror}: give a file in a writable folder"
        ) from error


def render_report(result: SimilarityResult) -> str:
    """Render a result as HTML.

    The images are read from their source and embedded. If one cannot be read, the page shows the error instead.
    """
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
<p>Compared with {result.rows:,} images of version {result.version} of the features; shown as the network
sees them.</p>
<ol>{"".join(_items(result))}</ol></body></html>
"""


def _items(result: SimilarityResult) -> Iterator[str]:
    label = escape_html(result.label or "not in the lake")
    image = _image(result.image, result.content_hash)
    yield f'<li class="query">{image}<b>query: {label}</b><small>{escape_html(result.image)}</small></li>'
    for neighbor in result.neighbors:
        yield (
            f"<li>{_image(neighbor.path, neighbor.content_hash)}<b>{escape_html(neighbor.label)}</b>"
            f"<small>cosine {neighbor.cosine:.6f}</small><small>{escape_html(neighbor.path)}</small></li>"
        )


def _image(path: str, content_hash: str) -> str:
    """Return an `img` element with the decoded image embedded, or a `div` with the error."""
    try:
        content = retry_transient(lambda: open_storage(path).read_once(path), _IMAGE_RETRY_TIMEOUT)
        pixels = decode(content, DecodeSettings()).pixels
    except (FileNotFoundError, PermissionError, TransientError, UndecodableImage) as error:
        return f'<div class="none">image not available: {escape_html(type(error).__name__)}</div>'
    buffer = io.BytesIO()
    Image.fromarray(((pixels + 1) * 127.5).round().astype(np.uint8)).save(
        buffer, "JPEG", quality=90
    )
    alt = escape_html(f"The image {path}")
    changed = hashlib.sha256(content).hexdigest() != content_hash
    note = "<small>has changed since it was ingested</small>" if changed else ""
    return f'<img alt="{alt}" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">{note}'
