"""Tests for `history`, `diff`, `show` and `tag`: results compared with pandas, SciPy and the files of the lake."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import deltalake
import numpy as np
import pyarrow.compute as pc
import pytest

from pomona.queries.diff import diff
from pomona.queries.history import history
from pomona.queries.image_history import content_in_refit
from pomona.queries.session import translate_read_errors
from streaming.errors import ExternalError
from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.lakes.feature_lakes import Oracle, delta
from support.lakes.history_lake import (
    BROKEN,
    CHANGED,
    DELETED,
    KEPT,
    HistoryLake,
    create_history_lake,
)
from support.processes.cli import Command, forbid_spark, shown


@pytest.fixture(scope="module")
def history_lake(tmp_path_factory: pytest.TempPathFactory) -> HistoryLake:
    return create_history_lake(tmp_path_factory.mktemp("travel") / "My lake")


@pytest.fixture
def pomona(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    forbid_spark(monkeypatch)
    return Command(monkeypatch, capsys)


def test_history_as_of_lists_refits_and_tags(history_lake: HistoryLake, pomona: Command) -> None:
    whole = history(history_lake.folder)
    assert [row["total"] for row in whole] == [len(history_lake.frame(v)) for v in range(6)]
    assert [row["refits"] for row in whole] == [
        *([], [history_lake.refits[0].refit_id], [], [], [], [history_lake.refits[1].refit_id])
    ]
    assert history(history_lake.folder, "3") == whole[:4]
    assert whole[1]["images_per_second"] == 10.0
    assert pomona("history", history_lake.folder, "--as-of", "3", "--json").json == whole[:4]
    assert "no version 6" in pomona("history", history_lake.folder, "--as-of", "6").error_line


@pytest.mark.parametrize(("one", "other"), [(1, 5), (5, 1), (0, 3), (1, 2), (4, 5), (2, 2)])
def test_diff_equals_the_difference_of_the_tables(
    history_lake: HistoryLake, pomona: Command, one: int, other: int
) -> None:
    before, after = history_lake.frame(one), history_lake.frame(other)
    both = before.join(after, how="inner", rsuffix="_new")
    expected = {
        "added": after.loc[after.index.difference(before.index), "label"],
        "removed": before.loc[before.index.difference(after.index), "label"],
        "replaced": both.loc[both.content_hash != both.content_hash_new, "label"],
    }
    found = pomona("diff", history_lake.folder, one, other, "--images", "--json").json
    for kind, labels in expected.items():
        assert found["images"][kind] == sorted(map(shown, labels.index))
        assert found[kind] == len(labels)
        counted = {row["label"]: row[kind] for row in found["labels"] if row[kind]}
        assert counted == labels.value_counts().to_dict()
    assert (found["from"]["rows"], found["to"]["rows"]) == (len(before), len(after))
    if (one, other) == (1, 2):
        assert found["replaced"] == 5  # six were written, one of them unchanged


def test_diff_compares_refits_by_id_or_version(history_lake: HistoryLake, pomona: Command) -> None:
    first, last = history_lake.refits
    by_id = pomona("diff", history_lake.folder, first.refit_id, last.refit_id, "--json").json
    found = by_id["refits"]
    for side, made in (("from", first), ("to", last)):
        assert found[side]["refit_id"] == made.refit_id
        assert found[side]["explained_variance_ratio"] == list(made.explained_variance_ratio)
    bases = []
    for made in history_lake.refits:
        with np.load(io.BytesIO(made.folder.read("components.npz"))) as arrays:
            bases.append(arrays["components"])
    from scipy.linalg import subspace_angles

    expected = np.degrees(subspace_angles(bases[0].T, bases[1].T))[::-1]
    np.testing.assert_allclose(found["angles"], expected, atol=1e-8)
    assert by_id["images"] is None
    by_version = pomona("diff", history_lake.folder, 1, "latest", "--json").json
    assert by_version["refits"] == found
    assert pomona("diff", history_lake.folder, 1, 2, "--json").json["refits"] is None
    output = pomona("diff", history_lake.folder, 1, 5).out
    assert f"{expected[-1]:.2f}° is the largest of 2 principal angles" in output
    for made in history_lake.refits:
        assert f"{made.explained_variance_ratio[0]:.2%}" in output
    assert "10 added, 3 removed, 5 replaced" in output


def test_diff_without_images_creates_no_object_per_image(tmp_path: Path) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(1, 1), random_images(5_000, 1, 1))
    expected = diff(lake.root, "0", "1", images=True)
    assert len(expected["images"]["added"]) == 5_000
    tracemalloc.start()
    found = diff(lake.root, "0", "1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == expected | {"images": None}
    assert peak < 300_000


def test_show_describes_a_version(history_lake: HistoryLake, pomona: Command) -> None:
    for version in (1, 3, 5):
        found = pomona("show", history_lake.folder, "--as-of", version, "--json").json
        frame = history_lake.frame(version)
        assert found["labels"] == frame.label.value_counts().to_dict()
        assert (found["rows"], found["as_of"]["version"]) == (len(frame), version)
    output = pomona("show", history_lake.folder, "--as-of", "1").out
    assert f"rows      {20} in 5 labels" in output
    assert history_lake.refits[0].refit_id in output
    assert pomona("show", history_lake.folder, "--as-of", "0", "--json").json["model_id"] is None


def test_show_describes_an_image(history_lake: HistoryLake, pomona: Command) -> None:
    found = pomona("show", history_lake.folder, CHANGED, "--json").json
    row = history_lake.frame(5).loc[CHANGED]
    assert found["row"]["content_hash"] == row.content_hash
    assert found["row"]["features"] == pytest.approx(row.features.tolist())
    hashes = [history_lake.frame(version).loc[CHANGED, "content_hash"] for version in (1, 5)]
    assert [(v["from"], v["until"], v["content_hash"]) for v in found["versions"]] == [
        (1, 2, hashes[0]),
        (2, None, hashes[1]),
    ]
    assert found["refits"] == [
        {
            "refit_id": made.refit_id,
            "features_version": made.features_version,
            "content_hash": content,
            "fitted": made is history_lake.refits[0],
        }
        for made, content in zip(history_lake.refits, hashes, strict=True)
    ]
    old = pomona("show", history_lake.folder, CHANGED, "--as-of", 1, "--json").json
    assert old["row"]["content_hash"] == hashes[0]
    assert [refit["refit_id"] for refit in old["refits"]] == [history_lake.refits[0].refit_id]
    assert len(old["versions"]) == 1


def test_refit_uses_the_content_of_its_version(history_lake: HistoryLake) -> None:
    versions = [
        {"from": 1, "until": 2, "content_hash": "old"},
        {"from": 2, "until": 4, "content_hash": "new"},
    ]
    saw = []
    for number in range(6):
        found = content_in_refit(
            replace(history_lake.refits[0], features_version=number), CHANGED, versions
        )
        saw.append(found and found["content_hash"])
    assert saw == [None, "old", "new", "new", None, None]


def test_scores_of_an_image_match_sklearn(history_lake: HistoryLake, pomona: Command) -> None:
    for as_of, made in ((1, history_lake.refits[0]), (5, history_lake.refits[1])):
        frame = history_lake.frame(as_of)
        below = frame.index.str.startswith(f"{made.fit_on}/") if made.fit_on else slice(None)
        oracle = Oracle.fit(np.array(frame[below].features.tolist(), dtype=float))
        expected = oracle.scores(np.array([frame.loc[KEPT].features], dtype=float), made.components)
        place = pomona("show", history_lake.folder, KEPT, "--as-of", as_of, "--json").json[
            "latest_scores"
        ]
        assert place["refit_id"] == made.refit_id
        np.testing.assert_allclose(np.abs(place["scores"]), np.abs(expected[0]), atol=1e-6)
    output = pomona("show", history_lake.folder, KEPT.removeprefix("file:")).out
    assert (
        f"on the components of refit {history_lake.refits[1].refit_id}: {place['scores'][0]:.3f}"
        in output
    )


def test_show_deleted_or_unknown_image(history_lake: HistoryLake, pomona: Command) -> None:
    gone = pomona("show", history_lake.folder, DELETED, "--json").json
    assert (gone["row"], gone["latest_scores"]) == (None, None)
    assert [(v["from"], v["until"]) for v in gone["versions"]] == [(1, 3)]
    assert [refit["refit_id"] for refit in gone["refits"]] == [history_lake.refits[0].refit_id]
    assert (
        "no row in the features of this version" in pomona("show", history_lake.folder, DELETED).out
    )
    broken = pomona("show", history_lake.folder, BROKEN)
    assert "in quarantine: corrupt: it is broken (1 attempt)" in broken.out
    for name in ("none.jpg", f"{'x' * 300}.jpg"):
        result = pomona("show", history_lake.folder, f"/photos/{name}").error_line
        assert f"/photos/{name} is in no table of" in result


def test_show_as_of_uses_the_quarantine_of_that_version(
    history_lake: HistoryLake, pomona: Command
) -> None:
    """The broken image was quarantined after the last version of the features."""
    assert pomona("show", history_lake.folder, BROKEN, "--as-of", "latest", "--json").json[
        "quarantine"
    ]
    result = pomona("show", history_lake.folder, BROKEN, "--as-of", 1).error_line
    assert f"{shown(BROKEN)} was in no table of {shown(history_lake.lake.root)} then" in result
    for as_of, there in ((1, []), (5, []), ("latest", [BROKEN]), ("0 seconds ago", [BROKEN])):
        rows = pomona("quarantine", history_lake.folder, "--as-of", as_of, "--json").json
        assert [row["path"] for row in rows] == list(map(shown, there)), as_of


def test_show_after_vacuum_starts_at_the_oldest_complete_version(
    history_lake: HistoryLake, pomona: Command, tmp_path: Path
) -> None:
    copy = shutil.copytree(history_lake.folder, tmp_path / "lake")
    table = delta(f"file:{copy}/features")
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    result = pomona("show", copy, CHANGED, "--json").json["versions"]
    assert [(v["from"], v["until"]) for v in result] == [(5, None)]
    assert (
        "version 2 was removed by VACUUM: available are 5"
        in pomona("show", copy, "--as-of", 2).error_line
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "status",
        "history",
        "show",
        "show --as-of 0",
        "show /photos/x.jpg",
        "tag x",
        "diff 0 latest",
        "duplicates",
        "similar /photos/x.jpg",
        "refit --as-of 1",
        "query --as-of 1 TABLE(features)",
    ],
)
def test_damaged_log_error_names_the_file(
    history_lake: HistoryLake, pomona: Command, tmp_path: Path, arguments: str
) -> None:
    copy = shutil.copytree(history_lake.folder, tmp_path / "lake")
    last = copy / "features" / "_delta_log" / f"{5:020}.json"
    last.write_bytes(b'{"commitInfo":{"timestamp":178' + b"\n" + last.read_bytes()[:40])
    name, *rest = arguments.split()
    output = pomona(name, copy, *rest).error_line
    assert f"{last}: damaged (" in output
    assert "restore this file" in output


def test_long_error_message_is_shortened(
    history_lake: HistoryLake, pomona: Command, tmp_path: Path
) -> None:
    with pytest.raises(ExternalError) as caught, translate_read_errors():
        raise OSError(f"Expected: {'all that is known of a file, ' * 99}but found a gap\nbacktrace")
    line = str(caught.value)
    assert line.startswith("Expected: all that is known")
    assert (
        "but found a gap (nothing was changed; if this happens again, a file of the lake is missing"
        in line
    )
    assert len(line) < 520

    copy = shutil.copytree(history_lake.folder, tmp_path / "lake")
    (copy / "features" / "_delta_log" / f"{2:020}.json").unlink()
    output = pomona("history", copy).error_line
    assert f"{copy}/features: its log has no version 2, but version 3: restore" in output


def test_show_describes_refit_with_duplicated_row(
    history_lake: HistoryLake, pomona: Command, tmp_path: Path
) -> None:
    refit_id = history_lake.refits[1].refit_id
    folder = shutil.copytree(history_lake.folder, tmp_path / "lake")
    rows = delta(str(folder / "refits")).to_pyarrow_table()
    deltalake.write_deltalake(
        folder / "refits", rows.filter(pc.equal(rows["refit_id"], refit_id)), mode="append"
    )
    found = pomona("show", folder, refit_id, "--json").json
    assert (found["refit_id"], found["features_version"]) == (refit_id, 5)


def test_show_finds_the_refit_of_a_published_file_or_its_copy(
    history_lake: HistoryLake, pomona: Command, tmp_path: Path
) -> None:
    made = history_lake.refits[1]
    folder = Path(made.folder.uri.removeprefix("file:"))
    copied = shutil.copytree(folder, tmp_path / "copied")
    alone = shutil.copy(folder / "reduced.csv", tmp_path / "alone.csv")
    arguments = [made.refit_id, folder / "reduced.csv", copied, copied / "report.html", alone]
    answers = [pomona("show", history_lake.folder, word, "--json").json for word in arguments]
    for found in answers:
        assert found == answers[0]
    found = answers[0]
    assert (found["refit_id"], found["features_version"]) == (made.refit_id, 5)
    assert found["model"]["weights_sha256"] == "ab" * 32
    assert found["parameters"] == {"components": 3, "variance": None, "fit_on": "/photos/More [x]"}
    beside = json.loads((copied / "refit.json").read_text())
    beside["lake"] = shown(beside["lake"])
    beside["parameters"]["fit_on"] = shown(beside["parameters"]["fit_on"])
    assert {key: found[key] for key in beside if key != "csv_sha256"} == {
        key: value for key, value in beside.items() if key != "csv_sha256"
    }
    assert beside["csv_sha256"] == hashlib.sha256(Path(alone).read_bytes()).hexdigest()
    refused = pomona("show", history_lake.folder, made.refit_id, "--as-of", 1)
    assert (refused.status, "belongs to one version: omit --as-of" in refused.error_line) == (
        2,
        True,
    )
    output = pomona("show", history_lake.folder, alone).out
    assert f"weights   random, SHA-256 {'ab' * 32}" in output
    assert "features  version 5 of" in output
    Path(alone).write_text("path,label,pc1\n")
    assert "is in no table" in pomona("show", history_lake.folder, alone).error_line


def test_tags_are_created_listed_moved_and_deleted(
    history_lake: HistoryLake, pomona: Command
) -> None:
    assert "no tags yet" in pomona("tag", history_lake.folder).out
    assert (
        "tag march points to version 1 of"
        in pomona("tag", history_lake.folder, "march", "--as-of", 1).out
    )
    result = pomona("tag", history_lake.folder, "march", "--as-of", 3).error_line
    assert "tag march already points to version 1: use --force to move it" in result
    moved = pomona("tag", history_lake.folder, "march", "--as-of", 3, "--force", "--json").json
    assert (moved["tag"], moved["version"]) == ("march", 3)
    assert pomona("tag", history_lake.folder, "now-on").status == 0
    listed = pomona("tag", history_lake.folder, "--json").json
    assert [(tag["tag"], tag["version"]) for tag in listed] == [("march", 3), ("now-on", 5)]
    assert (
        "VACUUM must keep removed files for at least 1 day"
        in pomona("tag", history_lake.folder).out
    )
    assert pomona("show", history_lake.folder, "--as-of", "march", "--json").json["tags"] == [
        "march"
    ]
    assert pomona("history", history_lake.folder, "--json").json[3]["tags"] == ["march"]
    assert len(pomona("diff", history_lake.folder, "march", "now-on", "--json").json["labels"]) == 5
    assert (
        "deleted tag march, which pointed to version"
        in pomona("tag", history_lake.folder, "march", "--delete").out
    )
    assert "has no tag march" in pomona("tag", history_lake.folder, "march", "--delete").error_line
    assert pomona("tag", history_lake.folder, "now-on", "--delete").status == 0
    assert pomona("tag", history_lake.folder, "--json").json == []


@pytest.mark.slow
def test_as_of_prints_the_resolved_version(history_lake: HistoryLake, pomona: Command) -> None:
    output = pomona("show", history_lake.folder, "--as-of", "2999-01-01").error_line
    assert "2999-01-01 (start of the day, UTC) is in the future: available are 0 (" in output
    time.sleep(2)  # the last version may be new
    for arguments in (("show",), ("history",), ("tag", "x"), ("quarantine",)):
        output = pomona(
            arguments[0], history_lake.folder, *arguments[1:], "--as-of", "1 second ago"
        ).out
        assert output.startswith("as of     1 second ago ("), arguments
        assert ") is version 5 of " in output.splitlines()[0]
    pomona("tag", history_lake.folder, "x", "--delete")
    result = pomona("history", history_lake.folder, "--as-of", "1 second ago", "--json")
    assert result.err.startswith("as of     1 second ago (")
