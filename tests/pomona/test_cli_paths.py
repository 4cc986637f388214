"""Tests for lakes, sources and images with unusual names in all commands: each works, or is rejected at once."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from pomona.demo.run import demo_locations
from streaming.delta.reader import open_table
from streaming.errors import PomonaError
from streaming.lake.layout import Lake
from streaming.sanitize import display_locations
from streaming.storage.interface import local_path, local_uri, normalize
from streaming.storage.open import open_storage
from support.lakes.small_lakes import GARBAGE, jpeg, upload_tree
from support.processes.cli import Command, parse

# All characters of a file name that are special in URIs, globs, SQL, CSV or shells, except "/" and those of `REJECTED`.
SPECIAL = " fruit (v2) {a,b} *? #;$% 100% %zz '\" <&=+,@~()!-> é e\u0301 🍎 \u202e\ufffd"
#: Control characters, right-to-left marks, decomposed Unicode, percent escapes, and the longest name.
NAMES = (
    "new\nline\tand tab.jpg",
    "\x01\x1b[31m\x7f.jpg",
    "\u202egpj.jpg",
    "e\u0301 and é.jpg",
    "%41 100%.jpg",
    "'\" ` $HOME.jpg",
    "🍎.JPG",
    "back\\slash.jpg",
    "=1+1.jpg",
)
#: Only in folders: names as bytes that are not valid UTF-8, and texts that look like their escapes.
BYTES = {
    b"caf\xe9.jpg": r"caf\xe9.jpg",
    b"caf\\xe9.jpg": r"caf\x5cxe9.jpg",
    b"\\x5cxe9.jpg": r"\x5cx5cxe9.jpg",
    b"\xf0\x9f\x8d.png": r"\xf0\x9f\x8d.png",
    b"caf\xef\xbf\xbd.jpg": "caf\ufffd.jpg",  # as Java reads the first one
    b"n" * 251 + b".jpg": "n" * 251 + ".jpg",
}
#: Only on S3.
KEYS = ("a//b.jpg", "a/c.jpg/d.jpg", "\u00a0.jpg", "k" * 800 + ".jpg")
#: Keys that XML cannot represent.
NOT_IN_XML = ("\x01\x1b[31m\x7f.jpg", "\x02/ \x0b\r\t\uffff +%2F.jpg")


HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


@dataclass(frozen=True)
class Workplace:
    """A source and a lake as given to commands, and the paths of the valid and the broken images."""

    source: str
    lake: str
    good: set[str]
    broken: set[str]
    delete: Callable[[str], None]


def folders(folder: Path, models: Path) -> Workplace:
    """Write images with all names to a folder."""
    shutil.copytree(models, folder / SPECIAL / "lake" / "models")
    root = folder / SPECIAL / "[x] |^" / r"x\xe9"
    good, broken = set(), set()
    names = {os.fsencode(name): name for name in NAMES} | BYTES
    for label in (SPECIAL.encode() + b"\xff", b"tab\tlabel"):
        parent = os.path.join(os.fsencode(root), label)
        prefix = f"{local_uri(str(root))}/{label.decode('utf-8', 'backslashreplace')}"
        os.makedirs(parent)
        used = names if label != b"tab\tlabel" else {b"a.jpg": "a.jpg"}
        for number, (name, text) in enumerate(used.items()):
            write_old_file(os.path.join(parent, name), jpeg(number))
            good.add(f"{prefix}/{text}")
        write_old_file(os.path.join(parent, b"broken \xff.jpg"), GARBAGE)
        broken.add(f"{prefix}/broken \\xff.jpg")

    def delete(path: str) -> None:
        """Delete an image."""
        local_path(path).unlink()

    return Workplace(local_uri(str(root)), str(folder / SPECIAL / "lake"), good, broken, delete)


def write_old_file(path: bytes, content: bytes) -> None:
    """Write a file with an old modification time."""
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, (0, 1_600_000_000))


def prefixes(bucket: str, models: Path) -> Workplace:
    """Put images with all names below a prefix of a bucket."""
    source, lake = (f"{SPECIAL} [x] |^/{name}" for name in ("fruits", "lake"))
    client = boto3.client("s3")
    upload_tree(models, bucket, f"{lake}/models")
    keys = [f"{source}/{SPECIAL}/{name}" for name in NAMES if name.isprintable()]
    keys += [f"{source}/{name}" for name in KEYS]
    for number, key in enumerate(keys):
        client.put_object(Bucket=bucket, Key=key, Body=jpeg(number))
    broken = f"{source}/broken/\u202e.jpg"
    client.put_object(Bucket=bucket, Key=broken, Body=GARBAGE)

    def delete(path: str) -> None:
        """Delete an image."""
        client.delete_object(Bucket=bucket, Key=path.removeprefix(f"s3a://{bucket}/"))

    good = {f"s3a://{bucket}/{key}" for key in keys}
    return Workplace(
        f"s3://{bucket}/{source}",
        f"s3://{bucket}/{lake}",
        good,
        {f"s3a://{bucket}/{broken}"},
        delete,
    )


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.s3
def test_unusual_names_on_s3_are_ingested_once(
    spark: Any, random_model: Path, pomona: Command, bucket: str
) -> None:
    work = prefixes(bucket, random_model)
    ingest = ("ingest", work.source, work.lake, "--once", "--max-failure-rate", "1", "--json")
    done = pomona(*ingest).json
    assert (done["featurized"], done["quarantined"]) == (len(work.good), len(work.broken))
    root = work.source.replace("s3:", "s3a:")
    for number, name in enumerate(NOT_IN_XML):  # from now on, Spark cannot list the source
        key = f"{root}/{name}".removeprefix(f"s3a://{bucket}/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=jpeg(100 + number))
        work.good.add(f"{root}/{name}")
    for featurized in (len(NOT_IN_XML), 0):
        done = pomona(*ingest).json
        assert (done["featurized"], done["quarantined"], done["waiting"]) == (featurized, 0, 0)
    table = open_table(Lake.at(work.lake).features).to_pyarrow_table()
    assert sorted(table["path"].to_pylist()) == sorted(work.good)
    (row,) = pomona("quarantine", work.lake, "--json").json
    assert normalize(row["path"]) in work.broken
    assert "\\u202e" in pomona("quarantine", work.lake).out


@pytest.mark.long
@pytest.mark.spark
def test_unusual_names_work_in_all_commands(
    spark: Any, random_model: Path, pomona: Command, tmp_path: Path
) -> None:
    work = folders(tmp_path, random_model)

    def run(*arguments: str) -> Any:
        done = pomona(*arguments, "--json")
        assert done.status == 0, (arguments, done.err)
        assert not HIDDEN.search(done.out.replace("\n", "")), arguments
        return done.json

    def show(*arguments: str) -> str:
        done = pomona(*arguments)
        assert done.status == 0, (arguments, done.err)
        assert not HIDDEN.search(done.out.replace("\n", "")), arguments
        return done.out

    lake, ingest = work.lake, ("ingest", work.source, work.lake, "--once", "--settle", "0")
    ingest = (*ingest, "--max-failure-rate", "1")
    first = run(*ingest)
    assert (first["featurized"], first["quarantined"]) == (len(work.good), len(work.broken))
    again = run(*ingest)
    assert (again["featurized"], again["quarantined"], again["waiting"]) == (0, 0, 0)

    table = open_table(Lake.at(lake).features).to_pyarrow_table()
    assert sorted(table["path"].to_pylist()) == sorted(work.good)
    for path in work.good | work.broken:
        assert open_storage(path).stat(path).path == path
        assert normalize(path) == normalize(display_locations(path)) == path
    assert run("status", lake)["rows"] == len(work.good)
    assert len(run("history", lake)) >= 1
    show("status", lake)
    show("history", lake)
    listed = run("quarantine", lake)
    assert {normalize(row["path"]) for row in listed} == work.broken
    assert "\\x" in show("quarantine", lake)
    assert run("quarantine", lake, "--retry")["quarantined"] == len(work.broken)

    refit = run("refit", lake, "--components", "2", "--fit-on", work.source)
    assert refit["rows_fitted"] == len(work.good)
    run("tag", lake, "v1")
    run("refit", lake, "--as-of", "v1", "--components", "3")
    content = open_storage(normalize(refit["csv"])).read(normalize(refit["csv"]), None)
    written = {row["path"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))}
    assert written == work.good
    for row in run("query", lake, "SELECT path FROM reduced"):
        assert normalize(row["path"]) in work.good
    assert run("query", lake, "SELECT count(*) AS n FROM features", "--as-of", "v1")[0]["n"]
    listed = pomona("query", lake, "SELECT path FROM features", "--csv").out
    rows = csv.DictReader(io.StringIO(listed, newline=""))
    assert {row["path"] for row in rows} == work.good

    for path in sorted(work.good)[::3]:
        shown = display_locations(path)
        assert normalize(run("show", lake, shown)["path"]) == path
    page = tmp_path / "page.html"
    query = min(work.good)
    similar = run("similar", lake, display_locations(query), "--report", str(page))
    assert {normalize(found["path"]) for found in similar["neighbors"]} < work.good
    assert "image not available" not in page.read_text()
    show("duplicates", lake)
    show("upgrade", lake)
    show("stop", lake)
    assert pomona("diff", lake, "0", "latest", "--images").status == 0

    deleted, forgotten = sorted(work.good)[-2:]
    work.delete(deleted)
    found = run("reconcile", work.source, lake, "--hash")
    assert {normalize(path) for path in found["missing_in_source"]} == {deleted}
    assert not found["missing"] + found["changed"] + found["rewritten"] + found["unread"]
    assert run("reconcile", work.source, lake, "--fix")["removed"] == 1
    assert run("forget", lake, display_locations(forgotten))["existing"]
    assert run(*ingest, "--mirror")["featurized"] == 1


@pytest.mark.parametrize(
    "folder",
    [
        "My%20demo",
        "fruit [v2]",
        "a|b",
        "a^b",
        "a\\b",
        r"caf\xe9",
        "a`b",
        "tab\tb",
        "line\nb",
        "10:30 {a}",
        "ab:c",
        "s3:demo",
        "S3://bucket/demo",
        "s3a://bucket",
        "/",
        "//",
        "file:///",
        "file://host/demo",
        "",
    ],
)
def test_demo_rejects_folder_before_anything_is_written(
    folder: str, pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = pomona("demo", "--folder", folder, "--weights", "random")
    assert done.status in (1, 2)
    assert done.error_line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "root"),
    [
        ("demo", "demo"),
        ("./a/../demo ", "demo "),
        ("used", "used-2"),
        ("dangling", "dangling-2"),
        (".", "../here-2"),
        ("..", "../../{outer}-2"),
        ("{here}/demo", "{here}/demo"),
        ("/{here}//demo/", "{here}/demo"),
        ("file:{here}/my%20demo", None),
        ("file://{here}/my%20demo", "my demo"),
        ("~/demo", "{here}/home/demo"),
        ("~nobody-here", "~nobody-here"),
        ("./~", "{here}/~"),
        ("./-x", "{here}/-x"),
        ("./a:b", "a:b"),
        ("./ab:c", "{here}/ab:c"),
        ("./s3:/demo", "{here}/s3:/demo"),
        ("e\u0301 é 50% #;$HOME {{a,b}} *?", "e\u0301 é 50% #;$HOME {{a,b}} *?"),
        ("n" * 250, "n" * 250),
    ],
)
def test_demo_locations_are_accepted_by_every_command(
    folder: str, root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "used").mkdir(parents=True)
    (here / "dangling").symlink_to("nothing")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here / "home"))
    names = {"here": str(here), "outer": tmp_path.name}
    if root is None:
        with pytest.raises(PomonaError, match="'%20'"):
            demo_locations(folder.format(**names))
        return
    source, lake = demo_locations(folder.format(**names))
    assert (source, lake) == tuple(f"{root.format(**names)}/{name}" for name in ("images", "lake"))
    parsed = parse(["ingest", source, lake])
    assert (parsed["source"], parsed["lake"]) == (source, lake)
    assert local_path(normalize(lake)) == Path(os.path.normpath(here / lake))
