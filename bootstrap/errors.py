"""Errors of the AWS set-up, as one line with a remedy."""

from __future__ import annotations


class CloudError(Exception):
    """Base class: an invalid file, account or response from AWS. The message says what to do."""


class ConfigError(CloudError):
    """`cluster.toml` is missing, is not valid TOML, or has an invalid key or value."""


class AccessDeniedError(CloudError):
    """The caller lacks an AWS permission."""


class UnresolvedReferenceError(CloudError):
    """A parameter refers to a resource that does not exist yet."""
