"""Tests for `java/pomona/source/SourceFileSystem.java`: the stream lists a folder as `LocalStorage.list` does."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pyspark
import pytest

from streaming.spark.jars import FENCED_LOG_STORE
from streaming.spark.java import java_home
from streaming.storage.interface import StoredFile, Unlisted
from streaming.storage.local import LocalStorage
from support.faults.unusual_entries import (
    WITHOUT_CAPABILITIES,
    create_unusual_entries,
    unprivileged,
)

pytestmark = pytest.mark.slow

LIST = """
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import java.net.URI;

public class List {
  public static void main(String[] arguments) throws Exception {
    Configuration conf = new Configuration(false);
    conf.set("fs.file.impl", "pomona.source.SourceFileSystem");
    if (System.getProperty("boundary") != null) conf.set("pomona.source.boundary", System.getProperty("boundary"));
    for (String argument : arguments) list(FileSystem.get(URI.create("file:///"), conf), new Path(argument));
  }

  static void list(FileSystem files, Path folder) throws Exception {
    for (FileStatus status : files.listStatus(folder)) {
      if (status.isDirectory()) list(files, status.getPath());
      else System.out.println(status.getPath() + "\\0" + status.getLen() + "\\0" + status.getModificationTime());
    }
  }
}
"""


def list_in_java(program: Path, *roots: str, boundary: str = "") -> list[StoredFile]:
    """List folders or files recursively with the class of the jar, without the privileges of root."""
    program.write_text(LIST)
    jars = Path(pyspark.__file__).parent / "jars"
    class_path = os.pathsep.join(map(str, (FENCED_LOG_STORE, f"{jars}/*")))
    command = (
        f"{java_home()}/bin/java",
        "-XX:TieredStopAtLevel=1",
        *([f"-Dboundary={boundary}"] if boundary else []),
        "-cp",
        class_path,
        str(program),
    )
    done = subprocess.run(
        [*WITHOUT_CAPABILITIES, *command, *roots],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    rows = (line.split("\0") for line in done.stdout.splitlines())
    return [StoredFile(path, int(length), int(modified)) for path, length, modified in rows]


def skip(uri: str, reason: Unlisted, detail: str) -> None:
    """Let a listing continue after an entry that it cannot read, as the listing of a source does."""


@pytest.mark.long
def test_stream_and_sweep_list_the_same_files_of_a_folder_with_unusual_entries() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root, program = Path(folder, "source"), Path(folder, "List.java")
        create_unusual_entries(root)
        for name, seconds in (("old.jpg", -1.5), ("été [x] {y}.jpg", 1_600_000_000.999)):
            (root / name).write_bytes(b"1234567")
            os.utime(root / name, (0, seconds))
        os.mkdir(os.fsencode(root) + b"/not \xff UTF-8")
        Path(folder, "copy").mkdir()
        shutil.copy(root / "old.jpg", Path(folder, "copy"))
        single = f"file:{folder}/copy/old.jpg"
        listed = list_in_java(program, f"file:{root}", single)
        with unprivileged():
            expected = list(LocalStorage().list(f"file:{root}", skip, follow_outside=True))
        expected.append(LocalStorage().stat(single))
        assert sorted(listed, key=str) == sorted(expected, key=str)
        assert f"file:{root}/linked/b.jpg" in {file.path for file in listed}
        # As with the default of --follow-links.
        listed = list_in_java(program, f"file:{root}", boundary=str(root))
        with unprivileged():
            expected = list(LocalStorage().list(f"file:{root}", skip))
    assert sorted(listed, key=str) == sorted(expected, key=str)
    assert not {"linked", "again"} & {Path(file.path).parent.name for file in listed}
