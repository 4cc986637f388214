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
    """Return the scripts and the jar that the nodes need, by name."""
    import bootstrap
    from streaming.spark.jars import FENCED_LOG_STORE

    folder = Path(bootstrap.__file__).parent
    return {
        "bootstrap_emr.sh": folder / "bootstrap_emr.sh",
        "submit.py": folder / "submit.py",
        FENCED_LOG_STORE.name: FENCED_LOG_STORE,
    }


def find_uploads(config: ClusterConfig, base_folder: Path, *, build: bool) -> Uploads:
    """Find the files that a configuration names.

    Parameters
    ----------
    config : ClusterConfig
    base_folder : pathlib.Path
        Folder that relative paths refer to.
    build : bool
        Build what is missing or outdated: export the model, which starts TensorFlow, and pack the environment.

    Raises
    ------
    UsageError
        If the folder of notebooks does not exist.
    ModelError, WeightsUnavailable
        If the weights cannot be used.
    CloudError
        If the environment built here would not run on the nodes, or the existing file is not such an archive.
    """
    from bootstrap.aws.request import LocalFile
    from bootstrap.resources.uploads import Uploads

    notebooks: dict[str, LocalFile] = {}
    if config.files.notebooks:
        folder = base_folder / config.files.notebooks
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; correct or remove [files] notebooks")
        for path in sorted(folder.rglob("*.ipynb")):
            notebooks[path.relative_to(folder).as_posix()] = LocalFile.from_path(path)
    archive = base_folder / config.files.environment
    environment = _environment(archive, config.machine, build=build)
    model = _model_folder(config.files.weights, base_folder, export=build)
    files = sorted(model.iterdir()) if model else []
    return Uploads(
        environment=environment,
        code={name: LocalFile.from_path(path) for name, path in code_files().items()},
        model={f"{file.parent.name}/{file.name}": LocalFile.from_path(file) for file in files},
        notebooks=notebooks,
    )


def _environment(archive: Path, machine: str, *, build: bool) -> LocalFile:
    """Return the archive for the nodes; an outdated one counts as missing."""
    from bootstrap.aws.request import LocalFile
    from bootstrap.environment.archive import build_environment
    from bootstrap.environment.manifest import check_buildable, is_current

    if not (archive.exists() and is_current(archive, machine)):
        if not build:
            return LocalFile(archive, None, "")
        check_buildable(archive, machine)
        build_environment(archive)
    return LocalFile.from_path(archive)


def _model_folder(weights: str, base_folder: Path, *, export: bool) -> Path | None:
    """Return the local folder of the exported model; it is exported once."""
    from streaming.cache_dir import cache_folder
    from streaming.images.decode import DECODER_REVISION
    from streaming.model.export import JSON_FILE
    from streaming.model.store import ensure_model, find_model
    from streaming.model.weights import IMAGENET, RANDOM, weights_sha256
    from streaming.storage.interface import local_path, normalize

    named = weights
    if weights not in (IMAGENET, RANDOM):
        weights = weights if "://" in weights else str(base_folder / weights)
        named = str(weights_sha256(weights))[:12]
    folder_name = f"{named}-d{DECODER_REVISION}"
    models = normalize(str(cache_folder() / "models" / folder_name))
    model = ensure_model(models, weights) if export else find_model(models)
    if model is None:
        return None
    folder = local_path(models) / model.model_id
    return folder if (folder / JSON_FILE).is_file() else None
