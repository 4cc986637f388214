"""Read the logs of a step or job and its driver from the log bucket, where EMR writes and replaces compressed files."""

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
    """One object of the log bucket.

    Parameters
    ----------
    key : str
    part : str
        One of `PARTS`.
    version : str
        Changes with what is in it.
    """

    key: str
    part: str
    version: str


@dataclass(frozen=True)
class _ReadPosition:
    """What of a file was told: its version, the end of its last whole line, a hash up to there, and what is left."""

    version: str
    end: int
    digest: bytes
    tail: bytes

    def matches(self, content: bytes) -> bool:
        """Whether a content begins with what was told."""
        return hashlib.sha256(content[: self.end]).digest() == self.digest


@dataclass
class LogReader:
    """Reads the logs of a run, each line once, however often it is asked.

    Parameters
    ----------
    names : Names
    ask : callable
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
        """What has come since the last call: ``s3://`` URI, and whole lines.

        A driver's last line may come without its end; it is told when its end is there, or by `unterminated_lines`.
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
        """Last lines that have no end."""
        for key, position in self._positions.items():
            if position.tail:
                yield (
                    f"s3://{self.names.log_bucket}/{key}",
                    [position.tail.decode(errors="replace")],
                )

    def files(self) -> list[LogFile]:
        """The objects that hold logs of the run, the older first."""
        listed: list[tuple[str, LogFile]] = []
        for prefix in self._prefixes():
            query = {"Bucket": self.names.log_bucket, "Prefix": prefix}
            answer = self.read("s3", "list_objects_v2", query, _NOT_FOUND_CODES) or {}
            for one in answer.get("Contents", ()):
                part = self._part(one["Key"])
                if part is not None and self.part in (part, "all"):
                    file = LogFile(one["Key"], part, f"{one['ETag']} {one['Size']}")
                    listed.append((str(one["LastModified"]), file))
        # The step first; within a part by time, and what was rotated before what replaced it.
        listed.sort(key=lambda pair: (PARTS.index(pair[1].part), pair[0], pair[1].key))
        return [file for _, file in listed]

    def _prefixes(self) -> list[str]:
        if self.run.serverless:
            return [self.run.prefix]
        found = [f"{self.run.prefix}steps/{self.run.id}/"]
        if self.part != "step" and (application := self._yarn_application(found[0])):
            found.append(f"{self.run.prefix}containers/{application}/")
        return found

    def _part(self, key: str) -> str | None:
        """Which part a key belongs to; None for what is no log of step or driver."""
        below = key.removeprefix(self.run.prefix)
        if not re.search(r"/(?:stdout|stderr|controller|syslog)[\w.-]*\.gz$", key):
            return None
        if self.run.serverless:
            return "driver" if "SPARK_DRIVER/" in below else None
        if below.startswith("steps/"):
            return "step"
        # In cluster mode the first container of each attempt is the driver's.
        return "driver" if re.search(r"/container_\w+_000001/", below) else None

    def _yarn_application(self, steps: str) -> str | None:
        """YARN's application of the step: `spark-submit` says it in its log."""
        for name in ("stderr.gz", "controller.gz", "syslog.gz"):
            if self._application:
                break
            content = self._read_object(f"{steps}{name}") or b""
            found = re.findall(rb"application_\d+_\d+", content)
            self._application = found[-1].decode() if found else None
        return self._application

    def _read_object(self, key: str) -> bytes | None:
        """What an object holds, unpacked, as far as it can be; None where it is gone."""
        answer = self.read(
            "s3", "get_object", {"Bucket": self.names.log_bucket, "Key": key}, _NOT_FOUND_CODES
        )
        return None if answer is None else decompress(answer["Body"].read())

    def _new_lines(self, file: LogFile, content: bytes) -> list[str]:
        """Whole lines that were not told: behind those that were, here or in what this file was rotated from."""
        before = self._positions.get(file.key) or self._positions.get(_rotated_from(file.key))
        start = before.end if before and before.matches(content) else 0
        end = content.rfind(b"\n") + 1
        digest = hashlib.sha256(content[:end]).digest()
        self._positions[file.key] = _ReadPosition(file.version, end, digest, content[end:])
        return content[start:end].decode(errors="replace").splitlines()


def _rotated_from(key: str) -> str:
    """Where what lies in the archive of EMR Serverless was before: ``stderr.gz`` for ``archived/stderr_3.gz``."""
    return re.sub(r"archived/([a-z]+)_\d+\.gz$", r"\1.gz", key)


def decompress(content: bytes) -> bytes:
    """Unpack gzip, several members one after the other or the last of them half; else the bytes as they are."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    result, left = io.BytesIO(), content
    while left.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            result.write(member.decompress(left))
        except zlib.error:
            break
        left = member.unused_data
    return result.getvalue()
