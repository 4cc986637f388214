"""Links, names, JSON documents and log entries that a hostile writer plants, generated from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from support.faults.hostile_names import NAMES as HOSTILE_NAMES

HUGE = 100 * 10**6
#: Names of files, as bytes: what a file system accepts.
NAMES: tuple[bytes, ...] = (
    *(name.replace("/", "").encode()[:250] for name in HOSTILE_NAMES),
    *(
        b"\xff\xfe",
        b"a\xe9b",
        b"x" * 255,
        b"\xed\xa0\x80",
        b"..%2f..",
        b"%2e%2e",
        b"a\nb",
        b"...",
        b"-rf",
    ),
    *(b"\x7f", b"\x01", b" ", b"*", b"~", b"con", b"{}", b"__pycache__", b"%00", b"\xc2\x85"),
)


def locations(outside: Path) -> tuple[str, ...]:
    """Return texts that lead out of a folder, as names, paths and URIs."""
    depth = "../" * 12
    name = str(outside).lstrip("/")
    return (
        f"{outside}/secret.txt",
        f"file:{outside}/secret.json",
        f"file://{outside}/photo.jpg",
        f"{depth}{name}/secret.txt",
        f"{'%2e%2e/' * 12}{name}/secret.txt",
        f"{'%252e%252e/' * 12}{name}/secret.txt",
        f"a/{depth}b/../{name}/secret.txt",
        f"{'..%2F' * 12}{name}%2Fsecret.txt",
        f".\t./.\n./{name}",
        "s3://bucket/secret",
        "s3a://KEY:VALUE@bucket/secret",
        "hdfs://127.0.0.1:1/x",
        "http://127.0.0.1:1/x",
        "jar:file:/x.jar!/y",
        "..",
        ".",
        "/",
        "/proc/self/environ",
        "//server/share",
        "C:\\x",
        "..\\..\\x",
    )


def random_values(rng: random.Random, outside: Path) -> Any:
    """Return a value of JSON that a reader does not expect."""
    texts = (
        "",
        " ",
        "\x1b[2Jred",
        "a\nb",
        "\u202eabc",
        "{}",
        "NaN",
        "\0",
        "os.system",
        "x" * 10_000,
    )
    numbers = (0, -1, 1.5, -0.0, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, True, None)
    nested: Any = rng.choice(texts)
    for _ in range(rng.choice((1, 5, 200))):
        nested = rng.choice(([nested], {"a": nested}))
    return rng.choice(
        (
            rng.choice(locations(outside)),
            rng.choice(locations(outside)),
            rng.choice(texts),
            rng.choice(numbers),
            nested,
            [],
            {},
            {"__class__": "os.system", "py/object": "os.system"},
        )
    )


def change_document(rng: random.Random, content: bytes, outside: Path) -> bytes:
    """Return another content for a JSON document."""
    try:
        document = json.loads(content)
    except ValueError:
        document = {}
    text = json.dumps(document)
    shapes: tuple[Callable[[], bytes], ...] = (
        lambda: rng.choice(
            (b"", b" ", b"{", b"nul", b"\0" * 50, b"'a'", b"{} {}", b"[]", b"7", b"null")
        ),
        lambda: rng.choice(
            (b"NaN", b"-Infinity", b"1e999", b"9" * 10_000, b'"\\ud800"', b"\xff\xfe")
        ),
        lambda: b"[" * 10_000 + rng.choice((b"", b"]" * 10_000)),
        lambda: b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        lambda: rng.choice((b"\xef\xbb\xbf", b"\xfe\xff")) + text.encode(),
        lambda: text.encode(rng.choice(("utf-16", "utf-32", "utf-16-be"))),
        lambda: (text[:-1] + "," + text[1:]).encode(),
        lambda: rng.randbytes(rng.randrange(1, 2000)),
        lambda: content[: rng.randrange(len(content) + 1)],
    )
    if rng.random() < 0.4 or not isinstance(document, dict) or not document:
        return rng.choice(shapes)()
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(list(document))
        if rng.random() < 0.1:
            del document[key]
        else:
            document[key] = random_values(rng, outside)
        if not document:
            break
    return json.dumps(document).encode()


def plant_entry(rng: random.Random, path: Path, outside: Path) -> str:
    """Replace a path by a link, a FIFO, a socket, a folder or a file; return what it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = (
        *("secret.txt", "secret.json", "photo.jpg", "features", "package", "x.pkl", "new file"),
        *("new folder/x", ".", "lake.json"),
    )
    kind = rng.choice(("fifo", "socket", "folder", "file", "/etc/passwd", "/proc/self/environ"))
    if rng.random() < 0.6:
        kind = rng.choice((*kinds, "loop", "/dev/zero", "/dev/stdin", "/"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f"{folder}/s")
            os.rename(f"{folder}/s", path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(rng.randbytes(20))
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.symlink_to(kind if kind.startswith("/") else outside / kind)
    return f"{kind} at {path}"


def random_action(rng: random.Random, outside: Path) -> dict[str, Any]:
    """Return a hostile action of a Delta log."""
    place = rng.choice((*locations(outside), f"file:{outside}/features/x.parquet", "x.parquet"))
    vector = {"storageType": rng.choice("puix"), "pathOrInlineDv": rng.choice((place, "ab" * 20))}
    vector |= {"offset": 1, "sizeInBytes": 40, "cardinality": 1}
    file: dict[str, Any] = {
        "path": place,
        "partitionValues": {},
        "size": rng.choice((1, -1, 2**62)),
    }
    file |= {"dataChange": True, "modificationTime": rng.choice((1, -1, 2**62))}
    own = file | {"path": "x.parquet"}
    actions: tuple[dict[str, Any], ...] = (
        {"add": file},
        {"add": own | {"deletionVector": vector}},
        {
            "add": own
            | {"stats": rng.choice(("{", "[]", '{"numRecords": -5}', '{"numRecords": "x"}'))}
        },
        {"remove": file | {"deletionTimestamp": 1}},
        {"cdc": file},
        {"sidecar": {"path": place, "sizeInBytes": 1, "modificationTime": 1}},
        {"checkpointMetadata": {"version": 2**62}},
        {"protocol": {"minReaderVersion": rng.choice((0, 1, 3, 99, -1)), "minWriterVersion": 7}},
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["odd"]}},
        {"metaData": {"id": place, "format": {"provider": rng.choice(("parquet", place, "csv"))}}},
        {"metaData": {"id": "x", "schemaString": rng.choice(("{", "[]", "{}", place))}},
        {"commitInfo": {"timestamp": rng.choice((-1, 2**62, "x", None)), "operation": place}},
        {
            "commitInfo": {
                "userMetadata": json.dumps({"source": place, "images": "x", "seconds": -1})
            }
        },
        {"commitInfo": {"operationMetrics": {"numOutputRows": "9" * 18}, "userMetadata": place}},
        {"domainMetadata": {"domain": place, "configuration": "{", "removed": False}},
        {"txn": {"appId": f"pomona/{place}", "version": rng.choice((2**62, -1))}},
        {
            rng.choice(
                ("add", "remove", "cdc", "metaData", "protocol", "txn", "odd")
            ): random_values(rng, outside)
        },
    )
    action = dict(rng.choice(actions))
    (kind,) = action
    if rng.random() < 0.3 and isinstance(action[kind], dict) and action[kind]:
        action[kind] = action[kind] | {rng.choice(list(action[kind])): random_values(rng, outside)}
    return action


def plant_log(rng: random.Random, table: Path, outside: Path) -> str:
    """Add a file to the log of a table, or change one; return what it is."""
    log = table / "_delta_log"
    commits = sorted(log.glob("*.json"))
    last = int(commits[-1].stem)
    action = random_action(rng, outside)
    line = json.dumps(action)
    kind = rng.randrange(7)
    if kind < 3:  # a new commit
        name = f"{last + 1:020}.json"
        (log / name).write_text("\n".join(line for _ in range(rng.choice((1, 2)))))
    elif kind == 3:  # an action more in a commit
        file = rng.choice(commits)
        name = file.name
        file.write_text(f"{file.read_text()}\n{line}\n")
    elif kind == 4:  # a gap, a huge version, no commit
        name = rng.choice(
            (f"{last + 2:020}.json", f"{2**62:020}.json", "9" * 20 + ".json", "x.json")
        )
        (log / name).write_text(line)
    elif kind == 5:
        name = "_last_checkpoint"
        hint = {
            "version": rng.choice((last, 2**62, -1, last + 1)),
            "size": 1,
            "parts": rng.choice((None, 3)),
        }
        hint |= {"v2Checkpoint": {"path": rng.choice(locations(outside)), "sidecarFiles": [action]}}
        (log / name).write_bytes(change_document(rng, json.dumps(hint).encode(), outside))
    else:
        name = f"{last:020}.checkpoint{rng.choice(('', '.0000000001.0000000002', '.a-b'))}.parquet"
        try:
            pyarrow.parquet.write_table(pa.Table.from_pylist([action]), log / name)
        except (pa.ArrowException, OverflowError, TypeError):
            (log / name).write_bytes(rng.randbytes(100))
    return f"{table.name}/_delta_log/{name}: {line[:300]}"


def plant_name(rng: random.Random, folder: Path, contents: Mapping[str, bytes]) -> str:
    """Create a file or folder with a hostile name; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix, content = rng.choice(list(contents.items()))
    name = rng.choice(NAMES)[: 255 - len(suffix)] + suffix.encode()
    path = os.path.join(os.fsencode(folder), name)
    if os.path.lexists(path):
        return repr(path)
    if rng.random() < 0.2:
        os.mkdir(path)
        path = os.path.join(path, b"x" + suffix.encode()[:200])
    with open(path, "wb") as file:
        file.write(content)
    return repr(path)
