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

_IMAGE_RETRY_TIMEOUT = 10.0  # seconds for one picture: the page is made without it then
_CSS = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem}ol{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));
gap:1rem}li{border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:8px;padding:.6rem}
li.asked{border:3px solid}img,.none{width:100%;aspect-ratio:1;background:#fff;border-radius:4px}
.none{display:grid;place-items:center;color:#333}b,small{display:block}"""


def write_report(likeness: SimilarityResult, file: Path) -> None:
    """Write the page; ExternalError where the file cannot be written."""
    try:
        file.write_text(page(likeness), encoding="utf-8")
    except OSError as error:
        raise ExternalError(
            f"--report {file}: {error.strerror}: give a file in a writable folder"
        ) from error


def page(likeness: SimilarityResult) -> str:
    """The page as HTML.

    Parameters
    ----------
    likeness : Likeness
        Its pictures are read from where they lie; in place of one that cannot be read stands why.
    """
    label, votes = likeness.votes[0] if likeness.votes else ("none", 0)
    title = escape_html(f"Images like {likeness.image}")
    vote = escape_html(f"{votes} of the nearest {len(likeness.neighbors)} say: {label}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{_CSS}</style></head><body>
<h1>{title}</h1><p>{vote}</p>
<p>Compared with {likeness.rows:,} images of version {likeness.version} of the features; shown as the network
takes them.</p>
<ol>{"".join(_items(likeness))}</ol></body></html>
"""


def _items(likeness: SimilarityResult) -> Iterator[str]:
    own = escape_html(likeness.label or "not in the lake")
    picture = _picture(likeness.image, likeness.content_hash)
    yield f'<li class="asked">{picture}<b>asked: {own}</b><small>{escape_html(likeness.image)}</small></li>'
    for one in likeness.neighbors:
        yield (
            f"<li>{_picture(one.path, one.content_hash)}<b>{escape_html(one.label)}</b>"
            f"<small>cosine {one.cosine:.6f}</small><small>{escape_html(one.path)}</small></li>"
        )


def _picture(path: str, content_hash: str) -> str:
    try:
        content = retry_transient(lambda: open_storage(path).read_once(path), _IMAGE_RETRY_TIMEOUT)
        pixels = decode(content, DecodeSettings()).pixels
    except (FileNotFoundError, PermissionError, TransientError, UndecodableImage) as error:
        return f'<div class="none">no picture: {escape_html(type(error).__name__)}</div>'
    buffer = io.BytesIO()
    Image.fromarray(((pixels + 1) * 127.5).round().astype(np.uint8)).save(
        buffer, "JPEG", quality=90
    )
    told = escape_html(f"The image {path}")
    changed = hashlib.sha256(content).hexdigest() != content_hash
    note = "<small>has changed since it was ingested</small>" if changed else ""
    return f'<img alt="{told}" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">{note}'
