"""Promises of `history`, `diff`, `show` and `tag`: what pandas, SciPy and a plain look into the files tell too."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from command_line import Command, forbid_spark
from features_rows import Images, delete, delta, images, new_lake
from lake_rows import add_quarantine
from scipy.linalg import subspace_angles

from batch_pca.catalog import PublishedRefit
from batch_pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from pomona.travelling import history
from streaming.commit import Writer
from streaming.lake import Lake, create_table
from streaming.schemas import QUARANTINE
from streaming.storage import StoredFile

pytestmark = pytest.mark.spark
FIRST = images(20, seed=1)
MORE = images(10, seed=2, below="file:/photos/More [x]")
KEPT, CHANGED, GONE = FIRST.paths[0], FIRST.paths[6], FIRST.paths[13]
BROKEN = StoredFile("file:/photos/Fig/broken.jpg", 5, 1_700_000_000_123)


def commit(spark: Any, lake: Lake, rows: Images, *, known: bool = False) -> None:
    """Commit rows whose hashes tell their contents apart."""
    hashes = [hashlib.sha256(vector.tobytes()).hexdigest() for vector in rows.vectors]
    table = rows.table()
    place = table.schema.get_field_index("content_hash")
    table = table.set_column(place, "content_hash", pa.array(hashes))
    told = {"source": "file:/photos", "images": len(hashes), "seconds": 2.0}
    Writer(spark, lake.features, told).upsert(spark.createDataFrame(table), known=known)


@dataclass
class Story:
    """Versions 2 rows · 3 five replaced, one as it was · 4 three gone · 5 OPTIMIZE · 6 more rows; refits of 2 and 6."""

    lake: Lake
    place: str
    refits: tuple[PublishedRefit, PublishedRefit]

    def frame(self, version: int) -> pd.DataFrame:
        """The rows of a version, by path."""
        table = delta(self.lake.features, version).to_pyarrow_table()
        return table.to_pandas().set_index("path").sort_index()


@pytest.fixture(scope="module")
def story(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Story:
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("travel"), "My lake"))
    create_table(spark, lake.quarantine, QUARANTINE)
    model = {"model_id": FIRST.model_id, "weights": "random", "weights_sha256": "ab" * 32}
    model |= {"architecture": "MobileNetV2", "layer": "gap", "width": 64, "input_size": 224}
    model |= {"divisor": 127.5, "offset": -1.0, "decoder_revision": 1, "precision": "float32"}
    model |= {"onnx_sha256": "", "keras_sha256": "", "versions": {}, "created_at": ""}
    place = Path(lake.models.removeprefix("file:"), FIRST.model_id)
    place.mkdir(parents=True)
    (place / "model.json").write_text(json.dumps(model))

    commit(spark, lake, FIRST)
    first = refit(lake.root, RefitOptions(FitOptions(components=2)))
    changed = FIRST.vectors[[0, *range(4, 9)]].copy()
    changed[1:] += 0.25
    commit(
        spark,
        lake,
        Images(
            [FIRST.paths[i] for i in (0, *range(4, 9))],
            [FIRST.labels[i] for i in (0, *range(4, 9))],
            changed,
        ),
        known=True,
    )
    delete(spark, lake, FIRST.paths[12:15])
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    commit(spark, lake, MORE)
    fit = RefitOptions(FitOptions(components=3), fit_on="/photos/More [x]")
    last = refit(lake.root, fit)
    add_quarantine(spark, lake, [BROKEN], MORE_AT)
    assert delta(lake.features).version() == 6
    return Story(lake, lake.root.removeprefix("file:"), (first, last))


MORE_AT = pd.Timestamp("2026-03-03T08:00Z").to_pydatetime()


@pytest.fixture
def pomona(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    forbid_spark(monkeypatch)
    return Command(monkeypatch, capsys)


def test_history_ends_where_it_is_told_to_and_names_refits_and_tags(
    story: Story, pomona: Command
) -> None:
    whole = history(story.place)
    assert [row["total"] for row in whole] == [len(story.frame(v)) for v in range(7)]
    assert [row["refits"] for row in whole] == [
        *([], [], [story.refits[0].refit_id], [], [], [], [story.refits[1].refit_id])
    ]
    assert history(story.place, "4") == whole[:5]
    assert whole[2]["images_per_second"] == 10.0
    assert pomona("history", story.place, "--as-of", "4", "--json").json == whole[:5]
    assert "no version 7" in pomona("history", story.place, "--as-of", "7").complaint


@pytest.mark.parametrize(("one", "other"), [(2, 6), (6, 2), (1, 4), (2, 3), (4, 5), (3, 3)])
def test_a_difference_is_that_of_the_tables_whatever_lies_between(
    story: Story, pomona: Command, one: int, other: int
) -> None:
    before, after = story.frame(one), story.frame(other)
    both = before.join(after, how="inner", rsuffix="_new")
    expected = {
        "added": after.loc[after.index.difference(before.index), "label"],
        "removed": before.loc[before.index.difference(after.index), "label"],
        "replaced": both.loc[both.content_hash != both.content_hash_new, "label"],
    }
    found = pomona("diff", story.place, one, other, "--images", "--json").json
    for kind, labels in expected.items():
        assert found["images"][kind] == sorted(labels.index)
        assert found[kind] == len(labels)
        counted = {row["label"]: row[kind] for row in found["labels"] if row[kind]}
        assert counted == labels.value_counts().to_dict()
    assert (found["from"]["rows"], found["to"]["rows"]) == (len(before), len(after))
    if (one, other) == (2, 3):
        assert found["replaced"] == 5  # of six that were written


def test_two_refits_are_compared_by_their_ids_or_their_versions(
    story: Story, pomona: Command
) -> None:
    first, last = story.refits
    by_id = pomona("diff", story.place, first.refit_id, last.refit_id, "--json").json
    found = by_id["refits"]
    for side, made in (("from", first), ("to", last)):
        assert found[side]["refit_id"] == made.refit_id
        assert found[side]["explained_variance_ratio"] == list(made.explained_variance_ratio)
    bases = []
    for made in story.refits:
        with np.load(io.BytesIO(made.folder.read("components.npz"))) as arrays:
            bases.append(arrays["components"])
    expected = np.degrees(subspace_angles(bases[0].T, bases[1].T))[::-1]
    np.testing.assert_allclose(found["angles"], expected, atol=1e-8)
    assert by_id["images"] is None
    by_version = pomona("diff", story.place, 2, "latest", "--json").json
    assert by_version["refits"] == found
    assert pomona("diff", story.place, 2, 3, "--json").json["refits"] is None
    said = pomona("diff", story.place, 2, 6).out
    assert f"{expected[-1]:.2f}° is the largest of 2 principal angles" in said
    for made in story.refits:
        assert f"{made.explained_variance_ratio[0]:.2%}" in said
    assert "10 added, 3 removed, 5 replaced" in said


def test_what_a_lake_held_is_shown(story: Story, pomona: Command) -> None:
    for version in (2, 4, 6):
        found = pomona("show", story.place, "--as-of", version, "--json").json
        frame = story.frame(version)
        assert found["labels"] == frame.label.value_counts().to_dict()
        assert (found["rows"], found["as_of"]["version"]) == (len(frame), version)
    said = pomona("show", story.place, "--as-of", "2").out
    assert f"rows      {20} in 5 labels" in said
    assert story.refits[0].refit_id in said
    assert pomona("show", story.place, "--as-of", "0", "--json").json["model_id"] is None


def test_an_image_is_shown_with_its_row_versions_and_refits(story: Story, pomona: Command) -> None:
    found = pomona("show", story.place, CHANGED, "--json").json
    row = story.frame(6).loc[CHANGED]
    assert found["row"]["content_hash"] == row.content_hash
    assert found["row"]["features"] == pytest.approx(row.features.tolist())
    hashes = [story.frame(version).loc[CHANGED, "content_hash"] for version in (2, 6)]
    assert [(v["from"], v["until"], v["content_hash"]) for v in found["versions"]] == [
        (2, 3, hashes[0]),
        (3, None, hashes[1]),
    ]
    assert found["refits"] == [
        {
            "refit_id": made.refit_id,
            "features_version": made.features_version,
            "content_hash": content,
            "fitted": made is story.refits[0],
        }
        for made, content in zip(story.refits, hashes, strict=True)
    ]
    old = pomona("show", story.place, CHANGED, "--as-of", 2, "--json").json
    assert old["row"]["content_hash"] == hashes[0]
    assert [refit["refit_id"] for refit in old["refits"]] == [story.refits[0].refit_id]
    assert len(old["versions"]) == 1


def test_the_place_of_an_image_is_where_the_refit_has_put_it(story: Story, pomona: Command) -> None:
    for as_of, made in ((2, story.refits[0]), (6, story.refits[1])):
        reduced = pa.parquet.read_table(made.folder.parquet.removeprefix("file:")).to_pylist()
        place = pomona("show", story.place, KEPT, "--as-of", as_of, "--json").json["place"]
        (row,) = (row for row in reduced if row["path"] == KEPT)
        assert place["refit_id"] == made.refit_id
        np.testing.assert_allclose(place["scores"], row["reduced"], atol=1e-9)
    said = pomona("show", story.place, KEPT.removeprefix("file:")).out
    assert (
        f"on the components of refit {story.refits[1].refit_id}: {place['scores'][0]:.3f}" in said
    )


def test_an_image_that_has_gone_or_never_was_one(story: Story, pomona: Command) -> None:
    gone = pomona("show", story.place, GONE, "--json").json
    assert (gone["row"], gone["place"]) == (None, None)
    assert [(v["from"], v["until"]) for v in gone["versions"]] == [(2, 4)]
    assert [refit["refit_id"] for refit in gone["refits"]] == [story.refits[0].refit_id]
    assert "no row of the features in this version" in pomona("show", story.place, GONE).out
    broken = pomona("show", story.place, BROKEN.path)
    assert "in quarantine: corrupt: it is broken (1 attempts)" in broken.out
    told = pomona("show", story.place, "/photos/none.jpg").complaint
    assert "file:/photos/none.jpg is in no table of" in told


def test_where_the_beginning_was_vacuumed_away_an_image_is_told_from_what_is_left(
    story: Story, pomona: Command, tmp_path: Path
) -> None:
    copy = shutil.copytree(story.place, tmp_path / "lake")
    table = delta(f"file:{copy}/features")
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    told = pomona("show", copy, CHANGED, "--json").json["versions"]
    assert [(v["from"], v["until"]) for v in told] == [(5, None)]
    assert "version 3 is vacuumed away: there are 5" in pomona("show", copy, "--as-of", 3).complaint


def test_a_published_file_or_a_copy_of_it_leads_back_to_where_it_comes_from(
    story: Story, pomona: Command, tmp_path: Path
) -> None:
    made = story.refits[1]
    folder = Path(made.folder.uri.removeprefix("file:"))
    copied = shutil.copytree(folder, tmp_path / "copied")
    alone = shutil.copy(folder / "reduced.csv", tmp_path / "alone.csv")
    words = [made.refit_id, folder / "reduced.csv", copied, copied / "report.html", alone]
    answers = [pomona("show", story.place, word, "--json").json for word in words]
    for found in answers:
        assert found == answers[0]
    found = answers[0]
    assert (found["refit_id"], found["features_version"]) == (made.refit_id, 6)
    assert found["model"]["weights_sha256"] == "ab" * 32
    assert found["asked"] == {"components": 3, "variance": None, "fit_on": "file:/photos/More [x]"}
    beside = json.loads((copied / "refit.json").read_text())
    assert beside.items() - {"csv_sha256": ""}.items()
    assert {key: found[key] for key in beside if key != "csv_sha256"} == {
        key: value for key, value in beside.items() if key != "csv_sha256"
    }
    assert beside["csv_sha256"] == hashlib.sha256(Path(alone).read_bytes()).hexdigest()
    said = pomona("show", story.place, alone).out
    assert f"weights   random, SHA-256 {'ab' * 32}" in said
    assert "features  version 6 of" in said
    Path(alone).write_text("path,label,pc1\n")
    assert "is in no table" in pomona("show", story.place, alone).complaint


def test_tags_are_given_listed_moved_and_taken(story: Story, pomona: Command) -> None:
    assert "no tags yet" in pomona("tag", story.place).out
    assert "tag march names version 2 of" in pomona("tag", story.place, "march", "--as-of", 2).out
    told = pomona("tag", story.place, "march", "--as-of", 4).complaint
    assert "tag march names version 2 already: --force moves it" in told
    moved = pomona("tag", story.place, "march", "--as-of", 4, "--force", "--json").json
    assert (moved["tag"], moved["version"]) == ("march", 4)
    assert pomona("tag", story.place, "now-on").status == 0
    listed = pomona("tag", story.place, "--json").json
    assert [(tag["tag"], tag["version"]) for tag in listed] == [("march", 4), ("now-on", 6)]
    assert "VACUUM must keep what was removed for 1 day or longer" in pomona("tag", story.place).out
    assert pomona("show", story.place, "--as-of", "march", "--json").json["tags"] == ["march"]
    assert pomona("history", story.place, "--json").json[4]["tags"] == ["march"]
    assert len(pomona("diff", story.place, "march", "now-on", "--json").json["labels"]) == 5
    assert "no longer names" in pomona("tag", story.place, "march", "--delete").out
    assert "has no tag march" in pomona("tag", story.place, "march", "--delete").complaint
    assert pomona("tag", story.place, "now-on", "--delete").status == 0
    assert pomona("tag", story.place, "--json").json == []


def test_what_was_assumed_is_said(story: Story, pomona: Command) -> None:
    said = pomona("show", story.place, "--as-of", "2999-01-01").complaint
    assert "2999-01-01 (its first moment, in UTC) is in the future: there are 0 (" in said
    said = pomona("show", story.place, "--as-of", "1 second ago").out
    assert "as of     1 second ago (" in said
