"""Points at which to kill a command, on folders and on S3, defined by events on its files."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import cycle, islice

from support.faults.kill_loop import KillPoint

_LOG = r"(features|quarantine)/_delta_log"
_LATER = r"\d*[1-9]\d*\.json"  # not the first commit, which creates the table
_CHECKPOINT = r"checkpoints/[^/]+"  # on S3 each lease term has its own

#: Points during the creation of a lake.
BEGINNING = {
    f"{table}/ is being created": KillPoint(
        "create", rf"{table}/_delta_log/\.0{{20}}\.json.*", within=0.01
    )
    for table in ("features", "quarantine", "refits")
}
#: Points defined by inotify events below the lake and the source.
FOLDER = {
    "any moment of the start": KillPoint("start", "", within=12),
    "any moment of the stream": KillPoint("moved", rf"{_CHECKPOINT}/offsets/\d+", within=6),
    "a manifest is being written": KillPoint("create", r"arrivals/\..*"),
    "after a manifest was written": KillPoint("moved", r"arrivals/\w+\.json", within=1),
    "reading": KillPoint("open", r"[^.]+\.jpg", within=0.02, watched="source"),
    "featurizing": KillPoint("closed", r"[^.]+\.jpg", within=0.4, watched="source"),
    "rows are being written": KillPoint("create", r"(features|quarantine)/part-.*", within=0.2),
    "inside a commit": KillPoint("create", rf"{_LOG}/\.\d*[1-9]\d*\.json.*"),
    "between the two table writes": KillPoint("moved", rf"quarantine/_delta_log/{_LATER}"),
    "inside a merge or a move": KillPoint("create", r"features/_change_data/.*", within=0.5),
    "after the table writes": KillPoint("moved", rf"features/_delta_log/{_LATER}", within=0.05),
    "inside the checkpoint's commit": KillPoint("create", rf"{_CHECKPOINT}/commits/\..*"),
    "inside the checkpoint's plan": KillPoint("create", rf"{_CHECKPOINT}/offsets/\..*"),
    "inside the source's log": KillPoint("create", rf"{_CHECKPOINT}/sources/0/\..*"),
    "inside a checkpoint of Delta's": KillPoint("create", rf"{_LOG}/(_last|.*checkpoint).*"),
}
REFIT = {
    name: KillPoint("create", pattern, within, command="refit")
    for name, pattern, within in (
        ("a refit's folder begins", r"reduced/.*_unpublished\.json.*", 0),
        ("a refit's pipeline is being written", r"reduced/.*/pipeline/.*", 0.3),
        ("a refit's vectors are being written", r"reduced/.*/parquet/.*", 0.3),
        ("a refit's report is being written", r"reduced/.*report\.html.*", 0),
        ("a refit's row is being written", r"refits/part-.*", 0.1),
        ("inside a refit's commit", r"refits/_delta_log/\..*json.*", 0),
        ("a refit's marker file is being deleted", r"refits/_delta_log/\..*json.*", 0.05),
    )
}
#: Points defined by requests to S3, where objects appear complete.
S3 = {
    "any moment of the start": KillPoint("start", "", within=12),
    "any moment of the stream": KillPoint("PUT", rf"lake/{_CHECKPOINT}/offsets/.*", within=8),
    "reading": KillPoint("GET", r"images/.*\.jpg", within=0.02),
    "featurizing": KillPoint("GET", r"images/.*\.jpg", within=0.5),
    "rows are being written": KillPoint("PUT", r"lake/(features|quarantine)/part-.*", within=0.2),
    "inside a commit": KillPoint("PUT", rf"lake/{_LOG}/{_LATER}", within=0.01),
    "between the two table writes": KillPoint("COPY", r"lake/quarantine/_delta_log/\d*\.crc"),
    "inside the checkpoint's commit": KillPoint("PUT", rf"lake/{_CHECKPOINT}/commits/.*"),
    "inside the checkpoint's renaming": KillPoint("COPY", rf"lake/{_CHECKPOINT}/.*"),
    "a refit's folder begins": KillPoint(
        "PUT", r"lake/reduced/.*_unpublished\.json", command="refit"
    ),
    "a refit's vectors": KillPoint("PUT", r"lake/reduced/.*", within=1, command="refit"),
    "inside a refit's commit": KillPoint(
        "PUT", rf"lake/refits/_delta_log/{_LATER}", command="refit"
    ),
}


def plan(points: Mapping[str, KillPoint], kills: int, rng: random.Random) -> list[str]:
    """Return names of points, each equally often, in random order; begin with points of ingestion."""
    names = list(islice(cycle(points), kills))
    rng.shuffle(names)
    first = [name for name in names if points[name].command == "ingest"][:8]
    for name in first:
        names.remove(name)
    return first + names
