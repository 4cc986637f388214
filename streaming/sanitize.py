"""Redact secrets in messages; in text that is displayed, shorten locations and escape control characters."""

from __future__ import annotations

import os
import re
from html import escape

_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_MIN_SECRET_LENGTH = 8  # shorter values are placeholders or ordinary words
# An AWS secret key may contain slashes; in the URL of a server, a slash starts the path.
_IN_LOCATION = re.compile(r"(?i)\b(s3[an]?:/*)[^\s/:@]*:[^\s@]*@|\b(https?://)[^\s/:@]*:[^\s/@]*@")
_IN_QUERY = re.compile(r"(?i)([?&]X-Amz-(?:Signature|Security-Token|Credential)=)[^\s&]+")
MASK = "***"
_MAX_LINE, _LINE_END = 2000, 600


# Locations as Spark writes them, with the scheme at the start of a word.
_FILE, _S3A = re.compile(r"(?<![\w/])file:/(?!/)"), re.compile(r"(?<![\w/])s3a://")


def display_locations(text: str) -> str:
    """Replace the locations in a text with the form that other tools accept: local paths and ``s3://`` URIs.

    Examples
    --------
    >>> display_locations("2 rows in file:/data/lake, 3 in s3a://bucket/lake")
    '2 rows in /data/lake, 3 in s3://bucket/lake'
    """
    return _S3A.sub("s3://", _FILE.sub("/", text))


def redact_environment_secrets(text: str) -> str:
    """Replace the secrets of AWS environment variables in a text."""
    for name in _SECRET_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _MIN_SECRET_LENGTH:
            text = text.replace(secret, MASK)
    return text


def redact(text: str) -> str:
    """Replace secrets of the environment, and credentials in URIs: ``s3://KEY:SECRET@bucket``, presigned URLs.

    Use it for messages only, not for data: the name of an image may look like this.
    """
    text = _IN_LOCATION.sub(
        lambda match: f"{match[1] or match[2]}{MASK}@", redact_environment_secrets(text)
    )
    return _IN_QUERY.sub(rf"\1{MASK}", text)


# Control characters (terminals interpret them, and a line break can fake a log line), bidirectional marks, Unicode line
# separators, invisible tag characters, and lone surrogates, which cannot be encoded.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u2028\u2029\ufeff\U000e0000-\U000e007f\ud800-\udfff"
)
_HIDDEN_CHARACTER = re.compile(f"[{_HIDDEN}]")
_HIDDEN_EXCEPT_LINE_BREAKS = re.compile(f"(?!\n)[{_HIDDEN}]")


def escape_text(text: str) -> str:
    """Escape control and invisible characters as in Python literals: ``\\n``, ``\\x1b``, ``\\u202e``."""
    return _HIDDEN_CHARACTER.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def message_line(text: str) -> str:
    """Return a message as it is printed: redacted, with control characters escaped, and at most 2,000 characters long.

    Values in it may come from a lake or source of others. The start, which names the value, and the end, which says
    what to do, are kept.
    """
    line = escape_text(redact(text))  # first: a part of a secret would not be recognized
    cut = len(line) - _MAX_LINE
    if cut <= 0:
        return line
    return f"{line[: _MAX_LINE - _LINE_END]} [{cut:,} characters] {line[-_LINE_END:]}"


def escape_html(text: str) -> str:
    """Escape control characters and HTML markup."""
    return escape(escape_text(text))


def escape_json(document: str) -> str:
    """Escape control characters in a JSON document; its value and its line breaks are unchanged."""
    return _HIDDEN_EXCEPT_LINE_BREAKS.sub(_json_escape, document)


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
