"""Errors of the AWS set-up, as one line with a remedy."""

from __future__ import annotations


class CloudError(Exception):
    """A file, an account or an answer of AWS that does not fit; the text says what to do."""


class ConfigError(CloudError):
    """`cluster.toml` is missing, is no TOML, or holds a wrong key or value."""


class AccessDeniedError(CloudError):
    """AWS does not let the caller do this."""


class UnresolvedReferenceError(CloudError):
    """What is asked for hangs on something that is not there yet."""
