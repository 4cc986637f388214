"""Tests for `streaming.spark.class_data_sharing` and `streaming.ingest.warmup`.

Java starts with an invalid archive; without one, it gets no option. All tests with Spark use a matching one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.warmup import run_warmup_stream
from streaming.lake.layout import Lake
from streaming.spark.class_data_sharing import (
    archive_file,
    delete_outdated_archives,
    dumping_options,
    sharing_options,
)
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home
from support.lakes.small_lakes import below


def test_archive_path_depends_on_java_and_jars(tmp_path: Path) -> None:
    java, jars = Path("/java"), [tmp_path / "a.jar", tmp_path / "b.jar"]
    for jar in jars:
        jar.write_bytes(b"1")
    archives = [
        archive_file(java, jars),
        archive_file(Path("/other"), jars),
        archive_file(java, jars[:1]),
    ]
    assert archive_file(java, jars) == archives[0]
    # Java does not use the archive for jars that were installed again.
    jars[1].write_bytes(b"22")
    archives.append(archive_file(java, jars))
    os.utime(jars[1], (1_000_000_000, 1_000_000_000))
    archives.append(archive_file(java, jars))
    assert len(set(archives)) == 5


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive in a private folder, last used a year ago."""
    archive = tmp_path / "My cache" / f"classes-{'0' * 12}.jsa"
    archive.parent.mkdir(mode=0o700)
    archive.touch(mode=0o444)
    os.utime(archive, (1_700_000_000, 1_700_000_000))
    return archive


def test_sharing_options_are_empty_without_archive(archive: Path) -> None:
    assert f'"-XX:SharedArchiveFile={archive}"' in sharing_options(archive)
    assert f'"-XX:ArchiveClassesAtExit={archive}"' in dumping_options(archive)
    archive.unlink()
    assert sharing_options(archive) == ""


def test_archive_that_others_can_write_is_not_used(archive: Path, tmp_path: Path) -> None:
    for path in (archive, archive.parent):
        mode = path.stat().st_mode
        for others in (0o020, 0o002):
            path.chmod(mode | others)
            assert sharing_options(archive) == ""
        path.chmod(mode)
    assert sharing_options(archive)
    link = archive.with_name(f"classes-{'1' * 12}.jsa")
    link.symlink_to(archive)
    assert sharing_options(link) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_archive_of_another_user_is_not_used(archive: Path) -> None:
    for path in (archive, archive.parent):
        os.chown(path, 12345, -1)
        assert sharing_options(archive) == ""
        os.chown(path, 0, -1)
    assert sharing_options(archive)


def test_new_archive_replaces_that_of_the_same_installation(archive: Path) -> None:
    java, folder = Path("/java"), archive.parent
    new, other = (folder / f"classes-{digit * 12}.jsa" for digit in "12")
    delete_outdated_archives(archive, java)
    assert not archive.exists()  # not used for a year
    archive.touch()
    for file in (new, other):
        file.touch()
    delete_outdated_archives(other, Path("/another java"))
    with archive.open() as mapped:
        delete_outdated_archives(new, java)
        assert mapped.read() == ""
    assert {file.name for file in folder.glob("*.jsa")} == {new.name, other.name}
    delete_outdated_archives(new, java)
    assert new.exists()


def test_unused_archives_and_interrupted_dumps_are_deleted(archive: Path, tmp_path: Path) -> None:
    folder = archive.parent
    new = folder / f"classes-{'1' * 12}.jsa"
    used, dump = archive, folder / f"classes-{'2' * 12}.4711"
    unrelated, outside = folder / "jars-1", tmp_path / "precious.jsa"
    other_record = folder / f"classes-{'3' * 12}.current"
    for file in (new, dump, unrelated, outside, other_record):
        file.touch()
    for file in (dump, unrelated, outside, other_record):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    assert sharing_options(used)  # marks it as used
    delete_outdated_archives(new, Path("/java"))
    (record,) = set(folder.glob("*.current")) - {other_record}
    assert set(folder.iterdir()) == {new, used, unrelated, record, other_record}
    record.write_text(f"../{outside.name}")
    delete_outdated_archives(new, Path("/java"))
    assert outside.exists()


@pytest.mark.long
@pytest.mark.spark
def test_warmup_stream_ingests_new_and_replaced_images(spark: SparkSession, tmp_path: Path) -> None:
    run_warmup_stream(spark, tmp_path)
    lake = Lake.at(str(tmp_path / "lake"))
    assert below(tmp_path / "images", lake.features) == [f"label/{name}.jpg" for name in range(3)]


def test_invalid_archive_starts_java_without_warning(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java reads the archive before Spark's classes: Spark need not start."""
    java, jars, cache = java_home(), jar_files(), archive.parents[1] / "pomona"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    invalid = archive_file(java, jars)
    assert invalid.parent == cache
    cache.mkdir()
    invalid.write_bytes(b"not an archive")
    invalid.chmod(0o400)
    options = shlex.split(sharing_options(invalid))
    assert f"-XX:SharedArchiveFile={invalid}" in options
    command = [java / "bin" / "java", *options, "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "version" in done.stderr
    assert "cds" not in done.stderr.lower()
    assert done.stdout == ""
