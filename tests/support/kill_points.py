"""Moments to kill at, on folders and on S3, each told by what a run does to its files."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import cycle, islice

from support.kill_loop import Aim

_LOG = r"(features|quarantine)/_delta_log"
_LATER = r"\d*[1-9]\d*\.json"  # not the first one, which creates the table
_BATCH = r"checkpoints/[^/]+"  # on S3 each term of the lease has its own

#: In a new lake.
BEGINNING = {
    f"{table}/ is being created": Aim(
        "create", rf"{table}/_delta_log/\.0{{20}}\.json.*", within=0.01
    )
    for table in ("features", "quarantine", "refits")
}
#: By inotify, below the lake and below the source.
FOLDER = {
    "any moment of the start": Aim("start", "", within=12),
    "any moment of the stream": Aim("moved", rf"{_BATCH}/offsets/\d+", within=6),
    "reading": Aim("open", r"[^.]+\.jpg", within=0.02, watched="source"),
    "featurizing": Aim("closed", r"[^.]+\.jpg", within=0.4, watched="source"),
    "rows are being written": Aim("create", r"(features|quarantine)/part-.*", within=0.2),
    "inside a commit": Aim("create", rf"{_LOG}/\.\d*[1-9]\d*\.json.*"),
    "between the two table writes": Aim("moved", rf"quarantine/_delta_log/{_LATER}"),
    "inside a merge or a move": Aim("create", r"features/_change_data/.*", within=0.5),
    "after the table writes": Aim("moved", rf"features/_delta_log/{_LATER}", within=0.05),
    "inside the checkpoint's commit": Aim("create", rf"{_BATCH}/commits/\..*"),
    "inside the checkpoint's plan": Aim("create", rf"{_BATCH}/offsets/\..*"),
    "inside the source's log": Aim("create", rf"{_BATCH}/sources/0/\..*"),
    "inside a checkpoint of Delta's": Aim("create", rf"{_LOG}/(_last|.*checkpoint).*"),
}
REFIT = {
    name: Aim("create", pattern, within, command="refit")
    for name, pattern, within in (
        ("a refit's folder begins", r"reduced/.*_unpublished\.json.*", 0),
        ("a refit's pipeline is being written", r"reduced/.*/pipeline/.*", 0.3),
        ("a refit's vectors are being written", r"reduced/.*/parquet/.*", 0.3),
        ("a refit's report is being written", r"reduced/.*report\.html.*", 0),
        ("a refit's row is being written", r"refits/part-.*", 0.1),
        ("inside a refit's commit", r"refits/_delta_log/\..*json.*", 0),
        ("a refit's mark is being taken away", r"refits/_delta_log/\..*json.*", 0.05),
    )
}
#: By the requests that reach S3; its objects appear whole.
S3 = {
    "any moment of the start": Aim("start", "", within=12),
    "any moment of the stream": Aim("PUT", rf"lake/{_BATCH}/offsets/.*", within=8),
    "reading": Aim("GET", r"images/.*\.jpg", within=0.02),
    "featurizing": Aim("GET", r"images/.*\.jpg", within=0.5),
    "rows are being written": Aim("PUT", r"lake/(features|quarantine)/part-.*", within=0.2),
    "inside a commit": Aim("PUT", rf"lake/{_LOG}/{_LATER}", within=0.01),
    "between the two table writes": Aim("COPY", r"lake/quarantine/_delta_log/\d*\.crc"),
    "inside the checkpoint's commit": Aim("PUT", rf"lake/{_BATCH}/commits/.*"),
    "inside the checkpoint's renaming": Aim("COPY", rf"lake/{_BATCH}/.*"),
    "a refit's folder begins": Aim("PUT", r"lake/reduced/.*_unpublished\.json", command="refit"),
    "a refit's vectors": Aim("PUT", r"lake/reduced/.*", within=1, command="refit"),
    "inside a refit's commit": Aim("PUT", rf"lake/refits/_delta_log/{_LATER}", command="refit"),
}


def plan(aims: Mapping[str, Aim], kills: int, chance: random.Random) -> list[str]:
    """Each moment as often as the others, in an order of chance; refits once there are rows."""
    names = list(islice(cycle(aims), kills))
    chance.shuffle(names)
    first = [name for name in names if aims[name].command == "ingest"][:8]
    for name in first:
        names.remove(name)
    return first + names
