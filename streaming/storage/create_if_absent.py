"""Create a small file only if it does not exist.

Uses a hard link locally and ``If-None-Match`` on S3. Returns False if another writer was first.
"""

from __future__ import annotations

import os
import uuid

from streaming.storage.interface import TransientError, is_s3, local_path


def create_if_absent(path: str, content: bytes) -> bool:
    """Put a file in place, whole, unless there is one of that name.

    Parameters
    ----------
    path : str
        Normalized URI.
    content : bytes
        Another for each call, as a random id in it makes it: a put whose answer was lost is told by it.

    Returns
    -------
    bool
        Whether it was put.

    Raises
    ------
    TransientError
        When S3 did not take it for longer than patience lasts.
    """
    return _put_object(path, content) if is_s3(path) else _link(path, content)


def _link(path: str, content: bytes) -> bool:
    target = local_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        beside.write_bytes(content)
        try:
            os.link(beside, target)
        except FileExistsError:
            return False
        return True
    except OSError as error:
        raise TransientError(f"{path}: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _put_object(path: str, content: bytes) -> bool:
    from botocore.exceptions import ClientError

    from streaming.storage.s3 import call_with_retries
    from streaming.storage.s3_client import s3_client, split
    from streaming.storage.s3_errors import PRECONDITION_FAILED

    client = s3_client()
    where = dict(zip(("Bucket", "Key"), split(path), strict=True))

    def put() -> bool:
        try:
            client.put_object(**where, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in PRECONDITION_FAILED:
                raise
            found: bytes = client.get_object(**where)["Body"].read()
            return found == content
        return True

    return call_with_retries(path, put)
