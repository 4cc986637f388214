"""Hide the credentials of the environment from boto3, S3A and delta-rs."""

from __future__ import annotations

from pathlib import Path

import pytest


def hide_credentials(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove the AWS credentials, and name files in a folder in place of those of the user; none of them exists."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, str(folder / "none"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
