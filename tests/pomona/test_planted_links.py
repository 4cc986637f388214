"""Tests for links in place of the files of a lake: no command opens a file outside of the lake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from batch_pca.refits.folder import RefitFolder, find_abandoned, read_components, read_moments
from batch_pca.refits.label_means import read_label_sums
from streaming.errors import LakeError
from streaming.lake.history import known_sources
from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.maintenance.requests import Request, pending_requests, poll_result
from streaming.maintenance.upgrade import rename_document_keys
from streaming.model.store import find_model
from support.faults.canaries import Canaries
from support.lakes.history_lake import HistoryLake, create_history_lake
from support.processes.cli import Command, forbid_spark

FIRST, LAST = "20260303T083001Z-v1-abcd", "20260303T083005Z-v5-abcd"
LINKS = {
    "lake.json": ("status",),
    "sources.json": ("status",),
    "tags/good.json": ("tag",),
    f"reduced/{FIRST}/components.npz": ("diff", FIRST, LAST),
    f"reduced/{FIRST}/moments.npz": ("diff", FIRST, LAST),
    f"reduced/{LAST}/refit.json": ("show", "COPY"),
    f"reduced/{LAST}": ("diff", FIRST, LAST),
    f"reduced/{LAST}/report.html": ("report",),
    "models/MODEL/model.json": ("show", LAST),
    "models/MODEL": ("show", LAST),
    "features/_delta_log/_last_checkpoint": ("status",),
    f"features/_delta_log/{3:020}.json": ("history",),
    f"quarantine/_delta_log/{0:020}.json": ("quarantine",),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> HistoryLake:
    return create_history_lake(tmp_path_factory.mktemp("template") / "lake")


@pytest.fixture
def canaries(tmp_path: Path) -> Canaries:
    return Canaries(tmp_path / "outside")


@pytest.fixture
def lake(template: HistoryLake, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template.folder, tmp_path / "lake"))


@pytest.mark.parametrize("name", list(LINKS))
def test_link_in_place_of_file_is_not_opened(
    template: HistoryLake,
    lake: Path,
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    forbid_spark(monkeypatch)
    path = lake / name.replace("MODEL", template.refits[0].model_id)
    copy = lake.with_name("copy.csv")
    copy.write_text("a,b\n")
    replace_by_link(path, canaries)
    command, *arguments = (str(copy) if text == "COPY" else text for text in LINKS[name])
    with canaries.watched() as watch:
        result = Command(monkeypatch, capsys)(command, lake, *arguments)
        assert not watch.pending()
    assert not canaries.changes()
    if result.status:
        assert "leads out of" in result.error_line


def replace_by_link(path: Path, canaries: Canaries) -> None:
    """Create a link to a canary, in place of a file or folder if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(canaries.folder / ("secret.json" if path.suffix else "features"))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("models/m/model.json", lambda lake: find_model(lake.models)),
        ("requests/1.json", pending_requests),
        ("requests", pending_requests),
        ("requests/answers/2.json", lambda lake: poll_result(lake, Request("forget", {}, "2"))),
        ("reduced/x/_unpublished.json", find_abandoned),
        ("reduced/x/components.npz", lambda lake: read_components(RefitFolder.of(lake, "x"), 8)),
        ("reduced/x/moments.npz", lambda lake: read_moments(RefitFolder.of(lake, "x"))),
        ("reduced/x/labels.npz", lambda lake: read_label_sums(RefitFolder.of(lake, "x"), 8)),
        ("reduced/x", lambda lake: RefitFolder.of(lake, "x").exists()),
        ("reduced/x/parquet", lambda lake: list(RefitFolder.of(lake, "x").parquet_files())),
        ("lease.json", lease_owner),
        ("sources.json", known_sources),
        ("tags/t.json", rename_document_keys),
    ],
)
def test_link_in_place_of_file_is_not_opened_by_function(
    tmp_path: Path, canaries: Canaries, name: str, call: Callable[[Lake], object]
) -> None:
    replace_by_link(tmp_path / "lake" / name, canaries)
    with canaries.watched() as watch:
        with suppress(LakeError):
            assert not call(Lake.at(str(tmp_path / "lake")))
        assert not watch.pending()
    assert not canaries.changes()
