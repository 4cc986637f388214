"""Logs of a step or a job and of its driver, as EMR puts them into the log bucket: packed, replaced as they grow."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from bootstrap.errors import CloudError
from bootstrap.names import Names
from bootstrap.request import Ask, Parameters
from bootstrap.running import newest_application, newest_cluster, recent_jobs, recent_steps

#: States in which nothing more is logged.
OVER = {"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED", "SUCCESS"}
PARTS = ("step", "driver")
_GONE = ("NoSuchKey", "NoSuchBucket", "404")


@dataclass(frozen=True)
class Run:
    """One step or job whose logs are asked for.

    Parameters
    ----------
    name, id, state : str
    prefix : str
        In the log bucket, where all of its cluster or job lies.
    where : dict
        How its state is asked for: parameters of `describe_step` or `get_job_run`.
    serverless : bool
    """

    name: str
    id: str
    state: str
    prefix: str
    where: Parameters
    serverless: bool

    def over(self, ask: Ask) -> bool:
        """Whether it is over by now."""
        if self.serverless:
            return (ask("emr-serverless", "get_job_run", self.where) or {})["jobRun"][
                "state"
            ] in OVER
        return (ask("emr", "describe_step", self.where) or {})["Step"]["Status"]["State"] in OVER


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


def find_run(names: Names, ask: Ask, wanted: str) -> Run:
    """The newest step or job of this name or id.

    Parameters
    ----------
    names : Names
    ask : callable
    wanted : str
        ``ingest``, ``refit``, or an id.

    Raises
    ------
    CloudError
        Where there is none; it says which there are.
    """
    called = (wanted, names.of(wanted))
    root = names.log_uri.removeprefix(f"s3://{names.log}/")
    if names.description.mode == "serverless":
        application = newest_application(ask, names.description.name)
        if application is None:
            raise CloudError(
                f"no application {names.description.name}: `pomona cloud up` makes one"
            )
        where = {"applicationId": application["id"]}
        jobs = recent_jobs(ask, application["id"], most=None)
        for job in sorted(jobs, key=lambda one: str(one.get("createdAt")), reverse=True):
            if job["id"] in called or job.get("name") in called:
                prefix = f"{root}applications/{application['id']}/jobs/{job['id']}/"
                asked = where | {"jobRunId": job["id"]}
                return Run(str(job.get("name")), job["id"], job["state"], prefix, asked, True)
        raise CloudError(_none(wanted, [str(job.get("name") or job["id"]) for job in jobs]))
    cluster = newest_cluster(ask, names.description.name)
    if cluster is None:
        raise CloudError(f"no cluster {names.description.name}: `pomona cloud up` makes one")
    steps = recent_steps(ask, cluster["Id"], most=None)
    for step in steps:
        if step["Id"] in called or step["Name"] in called:
            asked = {"ClusterId": cluster["Id"], "StepId": step["Id"]}
            prefix = f"{root}{cluster['Id']}/"
            return Run(step["Name"], step["Id"], step["Status"]["State"], prefix, asked, False)
    raise CloudError(_none(wanted, [step["Name"] for step in steps]))


def _none(wanted: str, there: list[str]) -> str:
    told = ", ".join(sorted(set(there))) or "none"
    return f"no step or job {wanted}; there are: {told}"


@dataclass(frozen=True)
class _Told:
    """What of a file was told: its version, the end of its last whole line, a hash up to there, and what is left."""

    version: str
    end: int
    digest: bytes
    tail: bytes

    def begins(self, content: bytes) -> bool:
        """Whether a content begins with what was told."""
        return hashlib.sha256(content[: self.end]).digest() == self.digest


@dataclass
class Reader:
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
    ask: Ask
    run: Run
    part: str = "all"
    _told: dict[str, _Told] = field(default_factory=dict)
    _application: str | None = None

    def new(self) -> Iterator[tuple[str, list[str]]]:
        """What has come since the last call: ``s3://`` URI, and whole lines.

        A driver's last line may come without its end; it is told when its end is there, or by `rest`.
        """
        for file in self.files():
            before = self._told.get(file.key)
            if before and before.version == file.version:
                continue
            content = self._content(file.key)
            if content is None:
                continue
            lines = self._added(file, content)
            if lines:
                yield f"s3://{self.names.log}/{file.key}", lines

    def rest(self) -> Iterator[tuple[str, list[str]]]:
        """Last lines that have no end."""
        for key, told in self._told.items():
            if told.tail:
                yield f"s3://{self.names.log}/{key}", [told.tail.decode(errors="replace")]

    def files(self) -> list[LogFile]:
        """The objects that hold logs of the run, the older first."""
        listed: list[tuple[str, LogFile]] = []
        for prefix in self._prefixes():
            asked = {"Bucket": self.names.log, "Prefix": prefix}
            answer = self.ask("s3", "list_objects_v2", asked, _GONE) or {}
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
        if self.part != "step" and (application := self._application_id(found[0])):
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

    def _application_id(self, steps: str) -> str | None:
        """YARN's application of the step: `spark-submit` says it in its log."""
        for name in ("stderr.gz", "controller.gz", "syslog.gz"):
            if self._application:
                break
            content = self._content(f"{steps}{name}") or b""
            found = re.findall(rb"application_\d+_\d+", content)
            self._application = found[-1].decode() if found else None
        return self._application

    def _content(self, key: str) -> bytes | None:
        """What an object holds, unpacked, as far as it can be; None where it is gone."""
        answer = self.ask("s3", "get_object", {"Bucket": self.names.log, "Key": key}, _GONE)
        return None if answer is None else unpacked(answer["Body"].read())

    def _added(self, file: LogFile, content: bytes) -> list[str]:
        """Whole lines that were not told: behind those that were, here or in what this file was rotated from."""
        before = self._told.get(file.key)
        known = [before] if before else [*self._told.values()]
        start = max((told.end for told in known if told.begins(content)), default=0)
        end = content.rfind(b"\n") + 1
        digest = hashlib.sha256(content[:end]).digest()
        self._told[file.key] = _Told(file.version, end, digest, content[end:])
        return content[start:end].decode(errors="replace").splitlines()


def unpacked(content: bytes) -> bytes:
    """Unpack gzip, several members one after the other or the last of them half; else the bytes as they are."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    made, left = io.BytesIO(), content
    while left.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            made.write(member.decompress(left))
        except zlib.error:
            break
        left = member.unused_data
    return made.getvalue()
