"""Secrets kept out of what is said: those of the environment, and those that somebody has typed into a location."""

from __future__ import annotations

import os
import re

_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_SHORTEST = 8  # shorter ones are placeholders, and words
# A secret key of AWS may hold slashes; in the address of a server, what is behind one is a path.
_IN_LOCATION = re.compile(r"(?i)\b(s3[an]?:/*)[^\s/:@]*:[^\s@]*@|\b(https?://)[^\s/:@]*:[^\s/@]*@")
_IN_QUERY = re.compile(r"(?i)([?&]X-Amz-(?:Signature|Security-Token|Credential)=)[^\s&]+")
STARS = "***"


def without_own_secrets(text: str) -> str:
    """A text without the secrets of the environment."""
    for name in _VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, STARS)
    return text


def redacted(text: str) -> str:
    """A text without those, and without what locations hold: ``s3://KEY:SECRET@bucket``, a signed address.

    For what is said to people. Data are not to pass through it: an image may have such a name.
    """
    text = _IN_LOCATION.sub(
        lambda found: f"{found[1] or found[2]}{STARS}@", without_own_secrets(text)
    )
    return _IN_QUERY.sub(rf"\1{STARS}", text)
