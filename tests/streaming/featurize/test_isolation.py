"""Tests for `streaming.featurize.isolation`: images that kill their process are identified."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from streaming.errors import ExternalError
from streaming.featurize.isolation import IsolatedFeaturizer, ModelBytes
from streaming.featurize.worker import Featurizer
from streaming.model.store import find_model, read_model
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile
from support.images.image_files import scan_bomb
from support.lakes.small_lakes import GARBAGE, jpeg, put_all

pytestmark = pytest.mark.slow

CPU_SECONDS = 0.5  # the scan bomb takes 4
FILES = {"a.jpg": jpeg(1), "bad.jpg": GARBAGE, "hang.jpg": scan_bomb(1600, 2000), "z.jpg": jpeg(2)}


@pytest.fixture(scope="module")
def featurizer(random_model: Path) -> Featurizer:
    models = f"file:{random_model}"
    model_info = find_model(models)
    assert model_info
    model = ModelBytes(read_model(models, model_info, "onnxruntime"))
    return Featurizer(
        model_info, "onnxruntime", model, model_info.decode_settings(), max_cpu_seconds=CPU_SECONDS
    )


def featurize(isolated: IsolatedFeaturizer, files: Sequence[StoredFile]) -> dict[str, Any]:
    """Return the rows by file name; each is attempt 3."""
    found = [row for batch in isolated([(file, 3) for file in files]) for row in batch.to_pylist()]
    assert [row["path"] for row in found] == [file.path for file in files]
    assert {row["attempts"] for row in found} == {3}
    return {row["path"].rsplit("/", 1)[1]: row for row in found}


def test_crashing_image_is_marked_and_others_are_featurized(
    featurizer: Featurizer, tmp_path: Path
) -> None:
    found = featurize(IsolatedFeaturizer(featurizer), put_all(tmp_path, FILES))
    outcomes = [found[name]["outcome"] for name in FILES]
    assert outcomes == ["features", "quarantine", "crashed", "features"]
    assert len(found["z.jpg"]["features"]) == 1280


def test_image_that_crashes_twice_is_quarantined(featurizer: Featurizer, tmp_path: Path) -> None:
    files = {name: FILES[name] for name in ("hang.jpg", "z.jpg")}
    found = featurize(
        IsolatedFeaturizer(featurizer, one_process_per_image=True), put_all(tmp_path, files)
    )
    assert found["hang.jpg"]["reason"] == "crashed_worker"
    assert "more than 0.5 s" in found["hang.jpg"]["detail"]
    assert found["z.jpg"]["outcome"] == "features"


@dataclass(frozen=True)
class KilledOnce(Featurizer):
    """Kills its process before the first image, as the kernel does if memory runs out; only once."""

    marker: str = ""

    def __call__(self, tasks: Any) -> Any:
        import os

        if not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(tasks)


def copy_as(kind: type[Featurizer], featurizer: Featurizer, **changes: Any) -> Featurizer:
    return kind(**{**vars(featurizer), **changes})


def test_image_that_crashes_once_is_retried(featurizer: Featurizer, tmp_path: Path) -> None:
    killed_once = copy_as(KilledOnce, featurizer, marker=str(tmp_path / "marker"))
    found = featurize(
        IsolatedFeaturizer(killed_once, one_process_per_image=True),
        put_all(tmp_path, {"a.jpg": jpeg(1)}),
    )
    assert found["a.jpg"]["outcome"] == "features"


class FailingToLoad(Featurizer):
    """Ends its process while loading the engine."""

    def load(self, batches: Any) -> Any:
        import os

        os._exit(9)


def test_crash_during_engine_load_is_external_error(featurizer: Featurizer, tmp_path: Path) -> None:
    files = put_all(tmp_path, {"a.jpg": jpeg(1)})
    with pytest.raises(ExternalError, match="exit status 9"):
        featurize(IsolatedFeaturizer(copy_as(FailingToLoad, featurizer)), files)


def test_read_error_leaves_image_unread(featurizer: Featurizer, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to("/proc/self/mem")  # its reads fail as on a broken disk
    unreadable = StoredFile(f"file:{tmp_path}/broken.jpg", 5, 0)
    row = featurize(
        IsolatedFeaturizer(replace(featurizer, retry_timeout=0.0), one_process_per_image=True),
        [unreadable],
    )["broken.jpg"]
    assert row["outcome"] == Outcome.UNREAD
    assert "Input/output error" in row["detail"]


def test_child_exception_is_raised_in_parent(featurizer: Featurizer, tmp_path: Path) -> None:
    unknown_engine = copy_as(Featurizer, featurizer, engine="nonsense")
    with pytest.raises(Exception, match="nonsense"):
        featurize(IsolatedFeaturizer(unknown_engine), put_all(tmp_path, {"a.jpg": jpeg(1)}))
