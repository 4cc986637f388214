"""Tests for `pomona.similarity.vector_cache`: contents, reuse, damage, eviction and free disk space."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import pomona
from pomona.similarity import vector_cache
from pomona.similarity.vector_cache import BLOCK_ROWS, Vectors, load_vectors
from streaming.errors import ExternalError, SnapshotError
from streaming.lake.layout import Lake
from support.lakes.deltars_lakes import append, create_deltars_lake, random_images, use_cache_folder
from support.lakes.feature_lakes import Images

WIDTH = 12


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def rows_by_path(cached: Vectors) -> dict[str, tuple[str, tuple[float, ...]]]:
    rows = cached.rows.to_pylist()
    vectors = cached.take(np.arange(len(cached)))
    return {row["path"]: (row["label"], tuple(v)) for row, v in zip(rows, vectors, strict=True)}


def expected(*deliveries: Images) -> dict[str, tuple[str, tuple[float, ...]]]:
    return {
        path: (label, tuple(vector))
        for rows in deliveries
        for path, label, vector in zip(rows.paths, rows.labels, rows.vectors, strict=True)
    }


def test_cache_contains_rows_of_its_version(tmp_path: Path) -> None:
    one, two = random_images(BLOCK_ROWS + 5, WIDTH, 1), random_images(9, WIDTH, 2)
    lake = create_deltars_lake(tmp_path / "lake", one, two)
    assert rows_by_path(load_vectors(lake, 0)) == expected(one)
    cached = load_vectors(lake, 1)
    assert rows_by_path(cached) == expected(one, two)
    assert (cached.version, cached.model_id, cached.width) == (1, "made-up", WIDTH)
    blocks = np.concatenate([cached.block(number) for number in cached.blocks])
    np.testing.assert_array_equal(blocks, cached.take(np.arange(len(cached))))
    np.testing.assert_allclose(cached.norms, np.linalg.norm(blocks.astype(float), axis=1))


@pytest.mark.parametrize("indices", [[], [0], [8, 0, 3, 3, 2, 5]])
def test_rows_at_returns_rows_in_given_order(tmp_path: Path, indices: list[int]) -> None:
    lake = create_deltars_lake(
        tmp_path / "lake", *(random_images(count, WIDTH, count) for count in (2, 3, 4))
    )
    cached = load_vectors(lake, 2)
    rows = cached.rows.select(["label", "path"]).to_pylist()
    found = cached.rows_at(np.array(indices, np.int64), ["label", "path"])
    assert found == [rows[index] for index in indices]


def test_rows_at_of_empty_version_is_empty(tmp_path: Path) -> None:
    rows = random_images(3, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", Images([], [], rows.vectors[:0]))
    assert load_vectors(lake, 0).rows_at(np.empty(0, np.int64), ["path"]) == []


@pytest.fixture
def two_gib_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose cached text columns exceed the 32-bit offsets of Arrow; the chunks share their 16 MB."""
    long = "x" * 2**24
    columns = dict.fromkeys(("path", "label"), pa.array([long, "a"])) | {"norm": pa.array([1.0, 1])}
    chunks = [
        pa.record_batch(columns | {"content_hash": pa.array([long, hash_])}) for hash_ in "bc"
    ]
    rows = pa.Table.from_batches(chunks * 65)
    vectors = random_images(len(rows), WIDTH).vectors
    vectors[:, :2] = 0
    vectors[[1, 3, 5]] = np.eye(WIDTH)[0] + np.eye(WIDTH)[1] * [[0], [0.01], [0.02]]
    (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tofile(tmp_path / "vectors")

    def open_vectors(lake: Lake, version: int) -> Vectors:
        file = os.open(tmp_path / "vectors", os.O_RDONLY)
        return Vectors(version, "made-up", WIDTH, rows, file)

    monkeypatch.setattr("pomona.similarity.search.load_vectors", open_vectors)
    monkeypatch.setattr("pomona.similarity.duplicates.load_vectors", open_vectors)
    monkeypatch.setattr("pomona.similarity.search.normalize", lambda path: path)
    return create_deltars_lake(tmp_path / "lake", random_images(3, WIDTH))


def test_similar_reads_more_than_2_gib_of_text(two_gib_of_text: Lake) -> None:
    found = pomona.open_lake(two_gib_of_text.root).similar("a", top=2)
    assert [(one.path, one.content_hash) for one in found.neighbors] == [("a", "c"), ("a", "b")]


def test_duplicates_reads_more_than_2_gib_of_text(two_gib_of_text: Lake) -> None:
    found = pomona.open_lake(two_gib_of_text.root).duplicates(at_least=0.9999, label="a")
    assert found.near_count == 2  # row 3 with rows 1 and 5, whose bytes are identical
    assert {pair.images for pair in found.near} == {(("a", "a"), ("a", "a"))}


def test_cache_is_created_once_outside_the_lake(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(20, WIDTH))
    before = sorted(Path(tmp_path, "lake").rglob("*"))
    first = rows_by_path(load_vectors(lake, 0))
    assert sorted(Path(tmp_path, "lake").rglob("*")) == before
    assert any(cache.rglob("vectors.f32"))
    monkeypatch.setattr(vector_cache, "query", None)
    assert rows_by_path(load_vectors(lake, 0)) == first


def test_recreated_lake_at_same_location_gets_new_cache(tmp_path: Path) -> None:
    load_vectors(create_deltars_lake(tmp_path / "lake", random_images(20, WIDTH)), 0)
    shutil.rmtree(tmp_path / "lake")
    other = random_images(20, WIDTH, 3)
    assert rows_by_path(load_vectors(create_deltars_lake(tmp_path / "lake", other), 0)) == expected(
        other
    )


@pytest.mark.parametrize("name", ["vectors.f32", "rows.arrow", "metadata.json"])
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_damaged_cache_is_recreated(tmp_path: Path, cache: Path, name: str, damage: bytes) -> None:
    rows = random_images(20, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    load_vectors(lake, 0)
    next(cache.rglob(name)).write_bytes(damage)
    assert rows_by_path(load_vectors(lake, 0)) == expected(rows)


@pytest.mark.parametrize("name", ["vectors.f32", "rows.arrow", "metadata.json"])
def test_truncated_cache_is_recreated(tmp_path: Path, cache: Path, name: str) -> None:
    rows = random_images(20, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    load_vectors(lake, 0)
    file = next(cache.rglob(name))
    os.truncate(file, file.stat().st_size // 2)
    assert rows_by_path(load_vectors(lake, 0)) == expected(rows)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_cache_that_cannot_be_opened_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(20, WIDTH))
    load_vectors(lake, 0)
    content = {file: file.read_bytes() for file in cache.rglob("*") if file.is_file()}

    def fail(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as patch:
        patch.setattr(pa, "memory_map", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            load_vectors(lake, 0)
    assert {file: file.read_bytes() for file in cache.rglob("*") if file.is_file()} == content


def test_two_most_recently_used_versions_are_kept(tmp_path: Path, cache: Path) -> None:
    lake = create_deltars_lake(
        tmp_path / "lake", *(random_images(3, WIDTH, seed) for seed in range(4))
    )
    for version in (0, 1, 2):
        opened = load_vectors(lake, version)
        for age, folder in enumerate(sorted(next(cache.iterdir()).iterdir(), reverse=True)):
            os.utime(folder, (1000 - age, 1000 - age))
    os.utime(next(cache.rglob("1")), (2000, 2000))
    load_vectors(lake, 3)
    assert {folder.name for folder in next(cache.iterdir()).iterdir()} == {"1", "3"}
    assert len(opened.block(0)) == len(opened) == 9  # usable after its folder was deleted


def test_unfinished_cache_is_ignored_and_deleted(tmp_path: Path, cache: Path) -> None:
    rows = random_images(5, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    load_vectors(lake, 0)
    folder = next(cache.rglob("0"))
    folder.rename(folder.with_name(".building-x"))
    os.utime(folder.with_name(".building-x"), (0, 0))
    assert rows_by_path(load_vectors(lake, 0)) == expected(rows)
    assert [entry.name for entry in folder.parent.iterdir()] == ["0"]


def test_insufficient_disk_space_fails_before_writing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(1000, WIDTH))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000 * WIDTH * 4 - 1))
    with pytest.raises(ExternalError, match=r"vectors of 1,000 images need .* XDG_CACHE_HOME"):
        load_vectors(lake, 0)
    assert not any(cache.rglob("*.f32"))


def test_mixed_models_and_nan_are_rejected(tmp_path: Path, cache: Path) -> None:
    one, two = random_images(3, WIDTH), random_images(3, WIDTH, 1)
    lake = create_deltars_lake(tmp_path / "two", one)
    append(lake, Images(two.paths, two.labels, two.vectors, "another"))
    with pytest.raises(
        SnapshotError, match=r"mixes the models another, made-up: .*: use an earlier version"
    ):
        load_vectors(lake, 1)
    one.vectors[1, 1] = np.nan
    with pytest.raises(SnapshotError, match="not finite numbers"):
        load_vectors(create_deltars_lake(tmp_path / "nan", one), 0)
    assert not any(cache.rglob("*.f32"))


def test_empty_version_has_no_vectors(tmp_path: Path) -> None:
    rows = random_images(3, WIDTH)
    empty = Images([], [], rows.vectors[:0])
    assert len(load_vectors(create_deltars_lake(tmp_path / "lake", empty), 0)) == 0
