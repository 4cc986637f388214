"""Redact secrets in messages, and escape control characters in text that is displayed."""

from __future__ import annotations

import os
import re
from html import escape

_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_SHORTEST = 8  # shorter ones are placeholders, and words
# A secret key of AWS may hold slashes; in the address of a server, what is behind one is a path.
_IN_LOCATION = re.compile(r"(?i)\b(s3[an]?:/*)[^\s/:@]*:[^\s@]*@|\b(https?://)[^\s/:@]*:[^\s/@]*@")
_IN_QUERY = re.compile(r"(?i)([?&]X-Amz-(?:Signature|Security-Token|Credential)=)[^\s&]+")
STARS = "***"


def redact_environment_secrets(text: str) -> str:
    """A text without the secrets of the environment."""
    for name in _VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, STARS)
    return text


def redact(text: str) -> str:
    """A text without those, and without what locations hold: ``s3://KEY:SECRET@bucket``, a signed address.

    For what is said to people. Data are not to pass through it: an image may have such a name.
    """
    text = _IN_LOCATION.sub(
        lambda found: f"{found[1] or found[2]}{STARS}@", redact_environment_secrets(text)
    )
    return _IN_QUERY.sub(rf"\1{STARS}", text)


# Controls (a terminal obeys them, and a line break forges a line), marks that turn the direction of the text around
# them, separators that count as line breaks, tags that nobody sees, halves of characters that no encoding takes.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u2028\u2029\ufeff\U000e0000-\U000e007f\ud800-\udfff"
)
_ANY = re.compile(f"[{_HIDDEN}]")
_BUT_LINE_BREAKS = re.compile(f"(?!\n)[{_HIDDEN}]")


def escape_text(text: str) -> str:
    """Write what a terminal or a page would obey, or hide, as Python writes it: ``\\n``, ``\\x1b``, ``\\u202e``."""
    return _ANY.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_html(text: str) -> str:
    """The same as text of a page, with no markup in it."""
    return escape(escape_text(text))


def escape_json(document: str) -> str:
    """The same for a JSON document: it stays the same document, its own line breaks included."""
    return _BUT_LINE_BREAKS.sub(_json_escape, document)


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
