"""Tests for the cache of vectors: the version's own rows, made once, whole or not at all, and outside of the lake."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pomona.similarity import vector_cache
from pomona.similarity.vector_cache import BLOCK_ROWS, Vectors, load_vectors
from streaming.errors import ExternalError, SnapshotError
from support.deltars_lakes import append, create_deltars_lake, random_images, use_cache_folder
from support.feature_lakes import Images

WIDTH = 12


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def by_path(found: Vectors) -> dict[str, tuple[str, tuple[float, ...]]]:
    rows = found.rows.to_pylist()
    vectors = found.take(np.arange(len(found)))
    return {row["path"]: (row["label"], tuple(v)) for row, v in zip(rows, vectors, strict=True)}


def expected(*deliveries: Images) -> dict[str, tuple[str, tuple[float, ...]]]:
    return {
        path: (label, tuple(vector))
        for rows in deliveries
        for path, label, vector in zip(rows.paths, rows.labels, rows.vectors, strict=True)
    }


def test_it_holds_the_rows_of_the_version(tmp_path: Path) -> None:
    one, two = random_images(BLOCK_ROWS + 5, WIDTH, 1), random_images(9, WIDTH, 2)
    lake = create_deltars_lake(tmp_path / "lake", one, two)
    assert by_path(load_vectors(lake, 0)) == expected(one)
    found = load_vectors(lake, 1)
    assert by_path(found) == expected(one, two)
    assert (found.version, found.model_id, found.width) == (1, "made-up", WIDTH)
    blocks = np.concatenate([found.block(number) for number in found.blocks])
    np.testing.assert_array_equal(blocks, found.take(np.arange(len(found))))
    np.testing.assert_allclose(found.norms, np.linalg.norm(blocks.astype(float), axis=1))


def test_it_is_made_once_and_outside_of_the_lake(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(20, WIDTH))
    before = sorted(Path(tmp_path, "lake").rglob("*"))
    first = by_path(load_vectors(lake, 0))
    assert sorted(Path(tmp_path, "lake").rglob("*")) == before
    assert any(cache.rglob("vectors.f32"))
    monkeypatch.setattr(vector_cache, "query", None)
    assert by_path(load_vectors(lake, 0)) == first


def test_a_lake_made_anew_at_the_same_place_has_its_own(tmp_path: Path) -> None:
    load_vectors(create_deltars_lake(tmp_path / "lake", random_images(20, WIDTH)), 0)
    shutil.rmtree(tmp_path / "lake")
    other = random_images(20, WIDTH, 3)
    assert by_path(load_vectors(create_deltars_lake(tmp_path / "lake", other), 0)) == expected(
        other
    )


@pytest.mark.parametrize("name", ["vectors.f32", "rows.arrow", "facts.json"])
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_what_is_damaged_is_made_again(
    tmp_path: Path, cache: Path, name: str, damage: bytes
) -> None:
    rows = random_images(20, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    load_vectors(lake, 0)
    next(cache.rglob(name)).write_bytes(damage)
    assert by_path(load_vectors(lake, 0)) == expected(rows)


def test_two_versions_are_kept_those_asked_last(tmp_path: Path, cache: Path) -> None:
    lake = create_deltars_lake(
        tmp_path / "lake", *(random_images(3, WIDTH, seed) for seed in range(4))
    )
    for version in (0, 1, 2):
        held = load_vectors(lake, version)
        for age, folder in enumerate(sorted(next(cache.iterdir()).iterdir(), reverse=True)):
            os.utime(folder, (1000 - age, 1000 - age))
    os.utime(next(cache.rglob("1")), (2000, 2000))
    load_vectors(lake, 3)
    assert {folder.name for folder in next(cache.iterdir()).iterdir()} == {"1", "3"}
    assert len(held.block(0)) == len(held) == 9  # what somebody holds is still there


def test_an_unfinished_one_is_not_taken(tmp_path: Path, cache: Path) -> None:
    rows = random_images(5, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    load_vectors(lake, 0)
    folder = next(cache.rglob("0"))
    folder.rename(folder.with_name(".building-x"))
    os.utime(folder.with_name(".building-x"), (0, 0))
    assert by_path(load_vectors(lake, 0)) == expected(rows)
    assert [entry.name for entry in folder.parent.iterdir()] == ["0"]


def test_a_full_disk_is_told_before_it_is_filled(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(1000, WIDTH))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000 * WIDTH * 4 - 1))
    with pytest.raises(ExternalError, match=r"1,000 vectors take .* XDG_CACHE_HOME"):
        load_vectors(lake, 0)
    assert not any(cache.rglob("*.f32"))


def test_two_models_and_what_is_no_number_are_refused(tmp_path: Path, cache: Path) -> None:
    one, two = random_images(3, WIDTH), random_images(3, WIDTH, 1)
    lake = create_deltars_lake(tmp_path / "two", one)
    append(lake, Images(two.paths, two.labels, two.vectors, "another"))
    with pytest.raises(SnapshotError, match="mixes the models another, made-up"):
        load_vectors(lake, 1)
    one.vectors[1, 1] = np.nan
    with pytest.raises(SnapshotError, match="not finite numbers"):
        load_vectors(create_deltars_lake(tmp_path / "nan", one), 0)
    assert not any(cache.rglob("*.f32"))


def test_a_version_without_rows_has_none(tmp_path: Path) -> None:
    rows = random_images(3, WIDTH)
    none = Images([], [], rows.vectors[:0])
    assert len(load_vectors(create_deltars_lake(tmp_path / "lake", none), 0)) == 0
