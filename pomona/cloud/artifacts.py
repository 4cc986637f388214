"""The files that `pomona cloud up` uploads: environment archive, code, exported model, notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streaming.errors import UsageError

if TYPE_CHECKING:
    from bootstrap.aws.request import LocalFile
    from bootstrap.config.schema import ClusterConfig
    from bootstrap.resources.uploads import Uploads


def code_files() -> dict[str, Path]:
    """The scripts and the jar that the nodes need, by name."""
    import bootstrap
    from streaming.spark.jars import FENCED_LOG_STORE

    ours = Path(bootstrap.__file__).parent
    return {
        "bootstrap_emr.sh": ours / "bootstrap_emr.sh",
        "submit.py": ours / "submit.py",
        FENCED_LOG_STORE.name: FENCED_LOG_STORE,
    }


def find_uploads(config: ClusterConfig, beside: Path, *, make: bool) -> Uploads:
    """The files that a description names.

    Parameters
    ----------
    description : Description
    beside : pathlib.Path
        Folder against which its paths are taken.
    make : bool
        Whether to make what is not there yet: the model, for which TensorFlow starts, and the environment, which is
        made anew too where it holds another Pomona.

    Raises
    ------
    UsageError
        Where the folder of notebooks is none.
    ModelError, WeightsUnavailable
        Where the weights cannot be used.
    CloudError
        Where the environment made here would not run on the nodes, or what is in its place is none.
    """
    from bootstrap.aws.request import LocalFile
    from bootstrap.resources.uploads import Uploads

    notebooks: dict[str, LocalFile] = {}
    if config.files.notebooks:
        folder = beside / config.files.notebooks
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no folder; [files] notebooks must name one, or be left out"
            )
        for path in sorted(folder.rglob("*.ipynb")):
            notebooks[path.relative_to(folder).as_posix()] = LocalFile.from_path(path)
    environment = _environment(beside / config.files.environment, make=make)
    model = _model_folder(config.files.weights, beside, export=make)
    files = sorted(model.iterdir()) if model else []
    return Uploads(
        environment=environment,
        code={name: LocalFile.from_path(path) for name, path in code_files().items()},
        model={f"{file.parent.name}/{file.name}": LocalFile.from_path(file) for file in files},
        notebooks=notebooks,
    )


def _environment(archive: Path, *, make: bool) -> LocalFile:
    """The archive for the nodes; one of another Pomona counts as none."""
    from bootstrap.aws.request import LocalFile
    from bootstrap.environment.archive import build_environment
    from bootstrap.environment.manifest import is_current

    if not (archive.exists() and is_current(archive)):
        if not make:
            return LocalFile(archive, None, "")
        build_environment(archive)
    return LocalFile.from_path(archive)


def _model_folder(weights: str, beside: Path, *, export: bool) -> Path | None:
    """Where the exported model lies on this machine; it is exported once."""
    from streaming.cache_dir import cache_folder
    from streaming.model.export import JSON_FILE
    from streaming.model.store import ensure_model, find_model
    from streaming.model.weights import IMAGENET, RANDOM, weights_sha256
    from streaming.storage.interface import normalize

    named = weights
    if weights not in (IMAGENET, RANDOM):
        weights = weights if "://" in weights else str(beside / weights)
        named = str(weights_sha256(weights))[:12]
    models = normalize(str(cache_folder() / "models" / named))
    found = ensure_model(models, weights) if export else find_model(models)
    if found is None:
        return None
    folder = Path(models.removeprefix("file:")) / found.model_id
    return folder if (folder / JSON_FILE).is_file() else None
