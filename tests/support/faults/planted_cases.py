"""Cases that plant links, names, JSON documents, rows and log entries into a lake or source, and then run a command."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

from batch_pca.refits.folder import RefitFolder, find_abandoned, remove_abandoned
from batch_pca.refits.label_means import read_label_sums
from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.maintenance.requests import pending_requests, poll_result
from streaming.model.store import find_model
from streaming.sources.listing import Source
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage
from support.faults.canaries import SECRET
from support.faults.planted_entries import (
    change_document,
    locations,
    plant_entry,
    plant_log,
    plant_name,
    random_values,
)
from support.faults.planted_place import REQUEST, Place
from support.lakes.history_lake import KEPT
from support.lakes.small_lakes import GARBAGE, jpeg, put


def command_of(rng: random.Random, place: Place) -> tuple[str, ...]:
    """Return a command that starts no Spark, and its arguments after the lake."""
    first, second = (row.refit_id for row in place.history_lake.refits)
    commands: tuple[tuple[str, ...], ...] = (
        ("status",),
        ("status", "--json"),
        ("status", "--max-age", "1h"),
        ("status", "--as-of", "good"),
        ("show",),
        ("show", "--as-of", "2"),
        ("show", KEPT),
        ("show", first),
        ("history",),
        ("diff", "0", "latest"),
        ("diff", "1", "3", "--images"),
        ("diff", first, second),
        ("tag",),
        ("tag", "new"),
        ("tag", "good", "--force"),
        ("tag", "good", "--delete"),
        ("quarantine",),
        ("export", str(place.folder / "out.parquet")),
        ("export", str(place.folder / "out.csv")),
        ("export", str(place.folder / "out.npz")),
        ("similar", KEPT),
        ("duplicates",),
        ("report",),
        ("prune", "--keep", "1", "--dry-run"),
        ("prune", "--keep", "1"),
    )
    return rng.choice(commands)


# Documents of the lake, and the commands and functions that read each.
DOCUMENTS: dict[str, tuple[str, ...]] = {
    "lake.json": ("status",),
    "sources.json": ("status",),
    "tags/good.json": ("tag", "show --as-of good", "status --as-of good", "tag good"),
    "features/_delta_log/_last_checkpoint": ("status", "show", "history"),
    "requests/00000000000000000001-abcdef01.json": ("requests",),
    f"requests/answers/{REQUEST.id}.json": ("answer",),
    "lease.json": ("owner", "stop"),
    "reduced/20260303T083000Z-v9-abcd/_unpublished.json": ("abandoned", "prune --keep 1"),
    "models/MODEL/model.json": ("model", "show REFIT"),
    "reduced/REFIT/refit.json": ("show REFIT", "diff FIRST REFIT", "show FILE"),
}
# The same for all files and folders.
ENTRIES = DOCUMENTS | {
    "reduced/REFIT/components.npz": ("diff FIRST REFIT",),
    "reduced/REFIT/moments.npz": ("diff FIRST REFIT",),
    "reduced/REFIT/labels.npz": ("labels",),
    "reduced/REFIT/report.html": ("report",),
    "reduced/REFIT": ("diff FIRST REFIT", "show REFIT", "prune --keep 1"),
    "reduced/FIRST": ("diff FIRST REFIT", "prune --keep 1"),
    "models/MODEL": ("model", "show REFIT"),
    "tags": ("tag", "tag new"),
    "requests": ("requests", "answer", "stop"),
    f"features/_delta_log/{3:020}.json": ("history", "diff 1 4 --images"),
    f"refits/_delta_log/{1:020}.json": ("history", "report"),
    "quarantine/_delta_log": ("quarantine",),
}


def run_reader(place: Place, lake: Lake, case: str, reader: str) -> None:
    """Run a command, or a function that the stream or the client of a request calls."""

    def listing() -> None:
        pending_requests(lake)

    def abandoned() -> None:
        remove_abandoned(find_abandoned(lake), [row.refit_id for row in place.history_lake.refits])

    functions: dict[str, Callable[[], Any]] = {
        "requests": listing,
        "answer": lambda: poll_result(lake, REQUEST),
        "labels": lambda: read_label_sums(
            RefitFolder.of(lake, place.history_lake.refits[-1].refit_id), 8
        ),
        "owner": lambda: lease_owner(lake),
        "abandoned": abandoned,
        "model": lambda: find_model(lake.models),
    }
    if reader in functions:

        def call() -> None:
            lake.validate()
            functions[reader]()

        place.check(f"{case}: {reader}", call)
        return
    place.run(case, *expand(place, reader).split())


def expand(place: Place, text: str) -> str:
    """Replace the names of refits and of the model in a path or command."""
    first, last = place.history_lake.refits
    text = text.replace("REFIT", last.refit_id).replace("FIRST", first.refit_id)
    text = text.replace("MODEL", first.model_id)
    return text.replace("FILE", f"{place.lake}/reduced/{last.refit_id}/refit.json")


def run_document(rng: random.Random, place: Place) -> None:
    """Change a JSON document of the lake, and run a reader of it."""
    lake = place.renew()
    name = rng.choice(list(DOCUMENTS))
    target = expand(place, name)
    path = place.lake / target
    content = path.read_bytes() if path.exists() else b'{"version": 3, "size": 1}'
    changed = change_document(rng, content, place.canaries.folder)
    path.write_bytes(changed)
    case = f"{target} is {changed[:200]!r}"
    run_reader(place, lake, case, rng.choice(DOCUMENTS[name]))


def run_link(rng: random.Random, place: Place) -> None:
    """Plant a link or special file into the lake, and run a command."""
    lake = place.renew()
    if rng.random() < 0.4:
        name = rng.choice(list(ENTRIES))
        case = plant_entry(rng, place.lake / expand(place, name), place.canaries.folder)
        run_reader(place, lake, case, rng.choice(ENTRIES[name]))
        return
    entries = sorted(str(path.relative_to(place.lake)) for path in place.lake.rglob("*"))
    new = ("tags/x.json", "requests/x.json", "lease-java", "x", "features/x.parquet")
    new += (f"features/_delta_log/{6:020}.json", "features/_delta_log/_last_checkpoint")
    new += (
        "features/_change_data/x.parquet",
        "checkpoints/ingest-arrivals/offsets/0",
        "models/x/model.json",
    )
    target = rng.choice((rng.choice(entries), rng.choice(entries), rng.choice(new)))
    case = plant_entry(rng, place.lake / target, place.canaries.folder)
    if rng.random() < 0.2:
        reader = rng.choice(("requests", "answer", "owner", "abandoned", "model"))
        run_reader(place, lake, case, reader)
    else:
        place.run(case, *command_of(rng, place))


def run_log_entry(rng: random.Random, place: Place) -> None:
    """Plant an entry into a Delta log, and run a command."""
    place.renew()
    table = place.lake / rng.choice(("features", "features", "quarantine", "refits"))
    case = plant_log(rng, table, place.canaries.folder)
    place.run(case, *command_of(rng, place))


def run_name(rng: random.Random, place: Place) -> None:
    """Plant a file or folder with a hostile name into the lake, and run a command."""
    tag = (place.template / "tags" / "good.json").read_bytes()
    contents = {".json": tag, "": b"", ".jpg": jpeg(1), ".parquet": b"PAR1", ".py": b"1/0"}
    folders = (
        "tags",
        "requests",
        "requests/answers",
        "models",
        "reduced",
        "features",
        "",
        "refits",
    )
    folders += ("features/_delta_log", "checkpoints")
    place.renew()
    case = plant_name(rng, place.lake / rng.choice(folders), contents)
    place.run(case, *command_of(rng, place))


def run_argument(rng: random.Random, place: Place) -> None:
    """Run a command with a hostile argument."""
    place.renew()
    text = str(
        rng.choice((*locations(place.canaries.folder), "\x1b[2J", "a\nb", "\udcff", "x" * 300))
    )
    refit = place.history_lake.refits[0].refit_id
    commands: tuple[tuple[str, ...], ...] = (
        ("tag", text),
        ("tag", text, "--delete"),
        ("show", text),
        ("show", "--as-of", text),
        ("diff", text, "latest"),
        ("diff", refit, text),
        ("report", text),
        ("quarantine", "--reason", text),
        ("duplicates", "--label", text),
        ("prune", "--older-than", text),
        ("status", "--max-age", text),
    )
    place.run("argument", *rng.choice(commands))


def run_row(rng: random.Random, place: Place) -> None:
    """Append a row with a hostile value, and run a command."""
    text_columns = {
        "features": ("path", "label", "content_hash", "format", "model_id"),
        "quarantine": ("path", "label", "reason", "detail", "content_hash"),
        "refits": (
            "refit_id",
            "model_id",
            "parameters",
            "pomona_version",
            "drift_labels",
            "statistics_from",
        ),
    }
    lake = place.renew()
    name = rng.choice(("features", "quarantine", "refits", "refits"))
    location = str(place.lake / name)
    table = deltalake.DeltaTable(location).to_pyarrow_table().slice(0, 1)
    column = rng.choice([c for c in text_columns[name] if c in table.schema.names])
    value = random_values(rng, place.canaries.folder)
    value = value if isinstance(value, str) else json.dumps(value)
    index = table.schema.get_field_index(column)
    values = pa.array([value.encode("utf-8", "replace").decode()], pa.string())
    table = table.set_column(
        index, table.schema.field(index), values.cast(table.schema.types[index])
    )
    deltalake.write_deltalake(location, table, mode="append")
    case = f"{name}.{column} is {value[:200]!r}"
    if rng.random() < 0.2:
        place.run(case, *rng.choice((("show", value), ("report", value), ("similar", value))))
    else:
        place.run(case, *command_of(rng, place))
    del lake


def run_file(rng: random.Random, place: Place) -> None:
    """Damage a file of a refit, and run a command."""
    pickle = (place.canaries.folder / "x.pkl").read_bytes()
    first, second = (row.refit_id for row in place.history_lake.refits)
    place.renew()
    folder = place.lake / "reduced" / rng.choice((first, second))
    file = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    if file.suffix == ".npz" and rng.random() < 0.5:
        arrays = dict(np.load(file))
        key = rng.choice(list(arrays))
        arrays[key] = rng.choice(
            (
                np.array([{"a": 1}], dtype=object),
                np.array(["x"]),
                np.full((3, 3), np.nan),
                np.zeros((0,)),
                np.zeros((2, 2, 2), np.float32),
                np.array(np.inf),
            )
        )
        np.savez(file, **arrays)
    else:
        content = file.read_bytes()
        position = rng.randrange(len(content) + 1)
        file.write_bytes(
            rng.choice((b"", pickle, rng.randbytes(500), content[:position], content + pickle))
        )
    place.run(
        f"{file.name} of {folder.name}",
        *rng.choice(
            (
                ("diff", first, second),
                ("show", first),
                ("show", str(file)),
                ("report",),
                ("status",),
                ("prune", "--keep", "1"),
            )
        ),
    )


def plant_source(rng: random.Random, source: Path, outside: Path, plants: int) -> None:
    """Create a source with images and planted entries."""
    put(source / "Fig" / "a.jpg", jpeg(rng.randrange(50)))
    put(source / "Kiwi" / "b.jpg", jpeg(rng.randrange(50)))
    for number in range(plants):
        folder = source / rng.choice(("Fig", "Kiwi", f"x{number}", "x/y"))
        if rng.random() < 0.6:
            suffix = rng.choice((".jpg", ".png", "", ".PNG"))
            plant_entry(rng, folder / f"p{number}{suffix}", outside)
        else:
            contents = {
                ".jpg": jpeg(rng.randrange(50)),
                ".png": GARBAGE,
                ".py": b"1/0",
                ".json": b"{",
            }
            plant_name(rng, folder, contents)


def run_source(rng: random.Random, place: Place) -> None:
    """Plant 25 entries into a source, and list and read it."""
    root = place.folder / "source"
    shutil.rmtree(root, ignore_errors=True)
    plant_source(rng, root, place.canaries.folder, 25)

    def read(root: Path = root) -> None:
        source = Source.at(str(root))
        storage = open_storage(source.root)
        for image in source.images():
            try:
                content = storage.read_once(image.path, within=source.boundary)
            except (FileNotFoundError, TransientError, PermissionError):
                continue
            assert SECRET.encode() not in content, image.path

    place.check(f"source {rng.random()}", read)
    place.cases += 24


#: The cases by kind, and how many of each kind are run in the long form.
CASES: dict[str, tuple[Callable[[random.Random, Place], None], int]] = {
    "documents": (run_document, 900),
    "links": (run_link, 600),
    "log": (run_log_entry, 600),
    "names": (run_name, 150),
    "arguments": (run_argument, 150),
    "rows": (run_row, 200),
    "files": (run_file, 150),
    "sources": (run_source, 20),
}
