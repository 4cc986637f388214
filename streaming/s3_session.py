"""Sessions of boto3 that share what costs most about them."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
import botocore.loaders
import botocore.session


def new_session() -> boto3.session.Session:
    """Make a session that looks at environment and profiles anew; boto3's description of S3 is read once a process."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session)


@cache
def _loader() -> Any:
    """Reading it takes 70 ms, and `pomona status` makes three clients."""
    return botocore.loaders.create_loader()
