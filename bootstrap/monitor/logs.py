"""Read the logs of a step or job and of its driver from the log bucket.

EMR uploads compressed files to the bucket and replaces them as they grow.
"""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from bootstrap.aws.request import ReadApi
from bootstrap.config.names import Names
from bootstrap.monitor.runs import Run

PARTS = ("step", "driver")
_NOT_FOUND_CODES = ("NoSuchKey", "NoSuchBucket", "404")


@dataclass(frozen=True)
class LogFile:
    """An object of the log bucket.

    Parameters
    ----------
    key : str
    part : str
        One of `PARTS`.
    version : str
        Changes with the content.
    """

    key: str
    part: str
    version: str


@dataclass(frozen=True)
class _ReadPosition:
    """Read position in a log file: its version, end and hash of the complete lines, and the bytes after them."""

    version: str
    end: int
    digest: bytes
    tail: bytes

    def matches(self, content: bytes) -> bool:
        """Return whether a content begins with the lines read before."""
        return hashlib.sha256(content[: self.end]).digest() == self.digest


@dataclass
class LogReader:
    """Reader of the logs of a run that returns each line once.

    Parameters
    ----------
    names : Names
    read : callable
    run : Run
    part : str
        ``step``, ``driver`` or ``all``.
    """

    names: Names
    read: ReadApi
    run: Run
    part: str = "all"
    _positions: dict[str, _ReadPosition] = field(default_factory=dict)
    _application: str | None = None

    def read_new_lines(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the ``s3://`` URI and the complete lines of each file that were added since the last call.

        The last line of a driver may lack its line end; it is returned once complete, or by `unterminated_lines`.
        """
        for file in self.files():
            before = self._positions.get(file.key)
            if before and before.version == file.version:
                continue
            content = self._read_object(file.key)
            if content is None:
                continue
            lines = self._new_lines(file, content)
            if lines:
                yield f"s3://{self.names.log_bucket}/{file.key}", lines

    def unterminated_lines(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the last lines that have no line end."""
        for key, position in self._positions.items():
            if position.tail:
                yield (
                    f"s3://{self.names.log_bucket}/{key}",
                    [position.tail.decode(errors="replace")],
                )

    def files(self) -> list[LogFile]:
        """Return the log files of the run, the oldest first."""
        listed: list[tuple[str, LogFile]] = []
        for prefix in self._prefixes():
            query = {"Bucket": self.names.log_bucket, "Prefix": prefix}
            response = self.read("s3", "list_objects_v2", query, _NOT_FOUND_CODES) or {}
            for item in response.get("Contents", ()):
                part = self._part(item["Key"])
                if part is not None and self.part in (part, "all"):
                    file = LogFile(item["Key"], part, f"{item['ETag']} {item['Size']}")
                    listed.append((str(item["LastModified"]), file))
        # The step first; within a part by time, and rotated files before their successors.
        listed.sort(key=lambda pair: (PARTS.index(pair[1].part), pair[0], pair[1].key))
        return [file for _, file in listed]

    def _prefixes(self) -> list[str]:
        """Return the prefixes of the run's logs in the bucket."""
        if self.run.serverless:
            return [self.run.prefix]
        prefixes = [f"{self.run.prefix}steps/{self.run.id}/"]
        if self.part != "step" and (application := self._yarn_application(prefixes[0])):
            prefixes.append(f"{self.run.prefix}containers/{application}/")
        return prefixes

    def _part(self, key: str) -> str | None:
        """Return the part a key belongs to; None if it is not a log of a step or driver."""
        below = key.removeprefix(self.run.prefix)
        if not re.search(r"/(?:stdout|stderr|controller|syslog)[\w.-]*\.gz$", key):
            return None
        if self.run.serverless:
            return "driver" if "SPARK_DRIVER/" in below else None
        if below.startswith("steps/"):
            return "step"
        # In cluster mode the first container of each attempt runs the driver.
        return "driver" if re.search(r"/container_\w+_000001/", below) else None

    def _yarn_application(self, steps: str) -> str | None:
        """Return the YARN application of the step, which `spark-submit` logs."""
        for name in ("stderr.gz", "controller.gz", "syslog.gz"):
            if self._application:
                break
            content = self._read_object(f"{steps}{name}") or b""
            matches = re.findall(rb"application_\d+_\d+", content)
            self._application = matches[-1].decode() if matches else None
        return self._application

    def _read_object(self, key: str) -> bytes | None:
        """Return the decompressed content of an object as far as possible; None if it was deleted."""
        response = self.read(
            "s3", "get_object", {"Bucket": self.names.log_bucket, "Key": key}, _NOT_FOUND_CODES
        )
        return None if response is None else decompress(response["Body"].read())

    def _new_lines(self, file: LogFile, content: bytes) -> list[str]:
        """Return the complete lines after those read before, in this file or in the one it was rotated from."""
        before = self._positions.get(file.key) or self._positions.get(_rotated_from(file.key))
        start = before.end if before and before.matches(content) else 0
        end = content.rfind(b"\n") + 1
        digest = hashlib.sha256(content[:end]).digest()
        self._positions[file.key] = _ReadPosition(file.version, end, digest, content[end:])
        return content[start:end].decode(errors="replace").splitlines()


def _rotated_from(key: str) -> str:
    """Return the key before EMR Serverless rotated the file: ``stderr.gz`` for ``archived/stderr_3.gz``."""
    return re.sub(r"archived/([a-z]+)_\d+\.gz$", r"\1.gz", key)


def decompress(content: bytes) -> bytes:
    """Decompress gzip with several members, the last possibly truncated; return other bytes unchanged."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    result, rest = io.BytesIO(), content
    while rest.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            result.write(member.decompress(rest))
        except zlib.error:
            break
        rest = member.unused_data
    return result.getvalue()
