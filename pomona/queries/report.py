"""Find the HTML report of a refit as a local file."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path

from pomona.queries.session import open_lake, require_refits, translate_read_errors
from streaming.cache_dir import cache_folder
from streaming.errors import ExternalError, SnapshotError, UsageError
from streaming.storage.interface import is_s3, local_path, local_uri
from streaming.storage.open import open_storage


@dataclass(frozen=True)
class ReportFile:
    """The report of a refit as a local file."""

    refit_id: str
    file: Path


def find_report(location: str, refit_id: str | None = None) -> ReportFile:
    """Return the report of a refit, by default of the latest; a report on S3 is downloaded into the cache.

    Raises
    ------
    SnapshotError
        If the lake has no refit, or the report is missing.
    UsageError
        If there is no such refit.
    """
    lake = open_lake(location)
    refits = {refit.refit_id: refit for refit in require_refits(lake)}
    if refit_id is not None and refit_id not in refits:
        raise UsageError(
            f"{refit_id}: no such refit in {lake.root}: `pomona history {lake.root}` lists the refits"
        )
    refit = refits[refit_id or list(refits)[-1]]
    with translate_read_errors():
        storage = open_storage(lake.root)
        if not storage.exists(refit.folder.report):
            raise SnapshotError(
                f"{refit.folder.report} is missing: run `pomona refit {lake.root} --full` to publish a new one"
            )
        if not is_s3(lake.root):
            storage.check_readable(refit.folder.report, lake.root)
            return ReportFile(refit.refit_id, local_path(refit.folder.report))
        content = storage.read(refit.folder.report, lake.root)
    return ReportFile(refit.refit_id, _write_to_cache(f"{refit.refit_id}.html", content))


def _write_to_cache(name: str, content: bytes) -> Path:
    folder = cache_folder() / "reports"
    uri = local_uri(str(folder / name))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        open_storage(uri).write(uri, content)
    except OSError as error:
        raise ExternalError(
            f"{folder}: {error.strerror}: set XDG_CACHE_HOME to a writable folder with free space"
        ) from error
    return folder / name


def open_in_browser(file: Path) -> None:
    """Open a file in the web browser; ExternalError if there is none."""
    if not webbrowser.open(file.absolute().as_uri()):
        raise ExternalError(f"no web browser was found: open {file} in one")
