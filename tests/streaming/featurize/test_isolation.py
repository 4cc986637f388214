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
from streaming.images.decode import DecodeSettings
from streaming.model.store import find_model, read_model
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile
from support.image_files import scan_bomb
from support.lakes import GARBAGE, jpeg, put_all

pytestmark = pytest.mark.slow

SECONDS = 0.5  # of the processor's time; the bomb takes 4
NAMES = {"a.jpg": jpeg(1), "bad.jpg": GARBAGE, "hang.jpg": scan_bomb(1600, 2000), "z.jpg": jpeg(2)}


@pytest.fixture(scope="module")
def featurizer(random_model: Path) -> Featurizer:
    models = f"file:{random_model}"
    model_info = find_model(models)
    assert model_info
    decode_settings = DecodeSettings(
        size=model_info.input_size, divisor=model_info.divisor, offset=model_info.offset
    )
    model = ModelBytes(read_model(models, model_info, "onnxruntime"))
    return Featurizer(model_info, "onnxruntime", model, decode_settings, max_cpu_seconds=SECONDS)


def verdicts(apart: IsolatedFeaturizer, files: Sequence[StoredFile]) -> dict[str, Any]:
    found = [row for batch in apart([(file, 3) for file in files]) for row in batch.to_pylist()]
    assert [row["path"] for row in found] == [file.path for file in files]
    assert {row["attempts"] for row in found} == {3}
    return {row["path"].rsplit("/", 1)[1]: row for row in found}


def test_crashing_image_is_marked_and_others_are_featurized(
    featurizer: Featurizer, tmp_path: Path
) -> None:
    found = verdicts(IsolatedFeaturizer(featurizer), put_all(tmp_path, NAMES))
    outcomes = [found[name]["outcome"] for name in NAMES]
    assert outcomes == ["features", "quarantine", "crashed", "features"]
    assert len(found["z.jpg"]["features"]) == 1280


def test_image_that_crashes_twice_is_quarantined(featurizer: Featurizer, tmp_path: Path) -> None:
    names = {name: NAMES[name] for name in ("hang.jpg", "z.jpg")}
    found = verdicts(
        IsolatedFeaturizer(featurizer, one_process_per_image=True), put_all(tmp_path, names)
    )
    assert found["hang.jpg"]["reason"] == "crashed_worker"
    assert "more than 0.5 s" in found["hang.jpg"]["detail"]
    assert found["z.jpg"]["outcome"] == "features"


@dataclass(frozen=True)
class OnceDeadly(Featurizer):
    """Ends the process at the first image, as the kernel does where memory runs out; not the next time."""

    mark: str = ""

    def __call__(self, tasks: Any) -> Any:
        import os

        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(tasks)


def variant(featurizer: Featurizer, kind: type[Featurizer], **more: Any) -> Featurizer:
    return kind(**{**vars(featurizer), **more})


def test_image_that_crashes_once_is_retried(featurizer: Featurizer, tmp_path: Path) -> None:
    deadly = variant(featurizer, OnceDeadly, mark=str(tmp_path / "mark"))
    found = verdicts(
        IsolatedFeaturizer(deadly, one_process_per_image=True),
        put_all(tmp_path, {"a.jpg": jpeg(1)}),
    )
    assert found["a.jpg"]["outcome"] == "features"


class Unready(Featurizer):
    """Cannot load its engine."""

    def load(self, batches: Any) -> Any:
        import os

        os._exit(9)


def test_crash_during_engine_load_is_external_error(featurizer: Featurizer, tmp_path: Path) -> None:
    files = put_all(tmp_path, {"a.jpg": jpeg(1)})
    with pytest.raises(ExternalError, match="exit status 9"):
        verdicts(IsolatedFeaturizer(variant(featurizer, Unready)), files)


def test_read_error_leaves_image_unread(featurizer: Featurizer, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    unreadable = StoredFile(f"file:{tmp_path}/folder.jpg", 5, 0)
    row = verdicts(
        IsolatedFeaturizer(replace(featurizer, retry_timeout=0.0), one_process_per_image=True),
        [unreadable],
    )["folder.jpg"]
    assert row["outcome"] == Outcome.UNREAD
    assert "Is a directory" in row["detail"]


def test_unknown_engine_error_reaches_parent(featurizer: Featurizer, tmp_path: Path) -> None:
    other = variant(featurizer, Featurizer, engine="nonsense")
    with pytest.raises(Exception, match="nonsense"):
        verdicts(IsolatedFeaturizer(other), put_all(tmp_path, {"a.jpg": jpeg(1)}))
