"""Create a small file only if it does not exist.

Uses a hard link locally and ``If-None-Match`` on S3. Returns False if another writer was first. On a file system
without hard links (exFAT, some network drives), a reader may see a part of the file for a moment.
"""

from __future__ import annotations

import errno
import os

from streaming.storage.interface import TransientError, is_s3, local_path
from streaming.storage.write_file import create_file, new_file

# Errors of `link` on file systems that have no hard links.
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


def create_if_absent(path: str, content: bytes) -> bool:
    """Create a file atomically unless one of this name exists.

    Parameters
    ----------
    path : str
        Normalized URI.
    content : bytes
        Unique for each call, for example by a random ID: a put whose response was lost is recognized by it.

    Returns
    -------
    bool
        Whether the file was created.

    Raises
    ------
    TransientError
        When the file could not be written, on S3 after retries.
    """
    return _put_object(path, content) if is_s3(path) else _link(path, content)


def _link(path: str, content: bytes) -> bool:
    target = local_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new_file(target) as (temporary, file):
            file.write(content)
            file.flush()
            try:
                os.link(temporary, target)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                create_file(target, content)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise TransientError(f"{path}: {error}") from error


def _put_object(path: str, content: bytes) -> bool:
    from botocore.exceptions import ClientError

    from streaming.storage.s3 import call_with_retries
    from streaming.storage.s3_client import bucket_and_key, s3_client
    from streaming.storage.s3_errors import PRECONDITION_FAILED

    client = s3_client()
    location = dict(zip(("Bucket", "Key"), bucket_and_key(path), strict=True))

    def put() -> bool:
        try:
            client.put_object(**location, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in PRECONDITION_FAILED:
                raise
            found: bytes = client.get_object(**location)["Body"].read()
            return found == content
        return True

    return call_with_retries(path, put)
