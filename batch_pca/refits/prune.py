"""`prune()`: remove refits that are no longer needed, with their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from batch_pca.refits.catalog import RefitRow, delete_rows, read_refits_and_abandoned
from batch_pca.refits.folder import RefitFolder, mark_for_removal, remove_abandoned
from streaming.arguments import check_fields
from streaming.counts import format_count
from streaming.errors import LakeError, UsageError
from streaming.lake.history import same_rows
from streaming.lake.layout import Lake
from streaming.lake.tags import read_tags
from streaming.spark.errors import translate_errors
from streaming.storage.interface import is_entry_name
from streaming.storage.open import open_storage

# Folders that are deleted at the same time: on S3, each of their files is one request.
_THREADS = 8


@dataclass(frozen=True)
class PruneOptions:
    """Which refits to remove. At least one option is required; a refit has to satisfy both if both are given.

    Parameters
    ----------
    keep : int, optional
        Number of the latest refits to keep, 1 or more.
    older_than : float, optional
        Remove only refits that were published more than this many seconds ago.
    dry_run : bool
        Remove nothing.

    Raises
    ------
    UsageError
        If a value has another type, neither is given, `keep` is less than 1, or `older_than` is not more than 0.
    """

    keep: int | None = None
    older_than: float | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.keep is None and self.older_than is None:
            raise UsageError("give --keep, --older-than or both: which refits to remove")
        if self.keep is not None and self.keep < 1:
            raise UsageError(f"--keep {self.keep}: give 1 or more; the latest refit is always kept")
        if self.older_than is not None and not self.older_than > 0:
            raise UsageError(f"--older-than {self.older_than:g} s: give more than 0")


@dataclass(frozen=True)
class RemovedRefit:
    """A refit that was removed, or would be by a dry run.

    Attributes
    ----------
    refit_id : str
    features_version : int
    created_at : datetime
        When it was published, UTC.
    size : int
        Bytes of its files.
    """

    refit_id: str
    features_version: int
    created_at: datetime
    size: int


@dataclass(frozen=True)
class PruneResult:
    """Result of `prune`.

    Attributes
    ----------
    removed : tuple of RemovedRefit
        Oldest first.
    protected : mapping of str to str
        Refits that the options select and that are kept nevertheless, with the reason.
    remaining : int
        Number of refits that are kept.
    interrupted : tuple of str
        Folders without a row that were deleted too: those of killed refits, and of a prune that was interrupted.
    size : int
        Bytes of all files that were deleted.
    dry_run : bool
        Whether nothing was deleted.
    """

    removed: tuple[RemovedRefit, ...]
    protected: dict[str, str]
    remaining: int
    interrupted: tuple[str, ...]
    size: int
    dry_run: bool


def prune(lake: Lake, options: PruneOptions) -> PruneResult:
    """Remove refits: their rows in ``refits/`` first, in one commit, and then their folders.

    A refit is kept in any case if it is the latest, the latest scheduled one, the baseline of the latest drift, or one
    of the rows of a tagged version. A process that is killed leaves marker files, by which the next prune or refit
    deletes what remains.

    Raises
    ------
    LakeError
        If the lake has another format, or files cannot be deleted.
    ExternalError
        If the storage fails.
    """
    lake.validate()
    with translate_errors(lake.root):
        return _prune(lake, options)


def _prune(lake: Lake, options: PruneOptions) -> PruneResult:
    refits, abandoned = read_refits_and_abandoned(lake)
    published = {row.refit_id for row in refits}
    selected = _select(refits, options, datetime.now(UTC))
    reasons = _protected(lake, refits) if selected else {}
    to_remove = [row for row in selected if row.refit_id not in reasons]
    sizes = _sizes(lake)
    interrupted = [a.folder for a in abandoned if a.folder.refit_id not in published]
    if not options.dry_run:
        remove_abandoned(abandoned, published)
        _remove(lake, to_remove, sizes)
        _check_removed([*interrupted, *(row.folder for row in to_remove)])
    removed = tuple(
        RemovedRefit(row.refit_id, row.features_version, row.created_at, sizes[row.refit_id])
        for row in to_remove
    )
    return PruneResult(
        removed=removed,
        protected={
            row.refit_id: reasons[row.refit_id] for row in selected if row.refit_id in reasons
        },
        remaining=len(refits) - len(removed),
        interrupted=tuple(folder.refit_id for folder in interrupted),
        size=sum(refit.size for refit in removed) + sum(sizes[f.refit_id] for f in interrupted),
        dry_run=options.dry_run,
    )


def _select(refits: Sequence[RefitRow], options: PruneOptions, now: datetime) -> list[RefitRow]:
    """Return the refits that the options select, oldest first."""
    candidates = refits if options.keep is None else refits[: -options.keep]
    if options.older_than is None:
        return list(candidates)
    limit = options.older_than
    return [row for row in candidates if (now - row.created_at).total_seconds() > limit]


def _protected(lake: Lake, refits: Sequence[RefitRow]) -> dict[str, str]:
    """Return the refits that must be kept, by id, with the reason."""
    reasons = {
        row.refit_id: "its ID is not the name of a folder"
        for row in refits
        if not is_entry_name(row.refit_id)  # other programs can write rows
    }
    for tag in read_tags(lake):
        for row in _refits_of_version(lake, refits, tag.version):
            reasons.setdefault(row.refit_id, f"tag {tag.name}")
    for row in reversed(refits):
        if row.drift_from is not None:
            reasons.setdefault(row.drift_from, f"baseline of the drift of refit {row.refit_id}")
            break
    scheduled = [row for row in refits if row.scheduled is not False]
    for row, reason in ((refits[-1], "latest"), *((s, "latest scheduled") for s in scheduled[-1:])):
        reasons.setdefault(row.refit_id, f"{reason} refit")
    return reasons


def _refits_of_version(lake: Lake, refits: Sequence[RefitRow], version: int) -> list[RefitRow]:
    """Return the refits of a version of the features, and those of its rows: OPTIMIZE also makes a new version."""
    numbers = {row.features_version for row in refits}
    equal = set()
    for side in (
        sorted((number for number in numbers if number <= version), reverse=True),
        sorted(number for number in numbers if number > version),
    ):
        for number in side:
            if not same_rows(lake, number, version):
                break
            equal.add(number)
    return [row for row in refits if row.features_version in equal]


def _sizes(lake: Lake) -> Counter[str]:
    """Return the bytes of the files of each folder of refits."""
    sizes: Counter[str] = Counter()
    for file in open_storage(lake.root).list(lake.reduced):
        sizes[file.path.removeprefix(f"{lake.reduced}/").partition("/")[0]] += file.length
    return sizes


def _remove(lake: Lake, refits: Sequence[RefitRow], sizes: Counter[str]) -> None:
    if not refits:
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        existing = [row.folder for row in refits if row.refit_id in sizes]
        list(pool.map(mark_for_removal, existing))
        delete_rows(lake, [row.refit_id for row in refits])
        # Also those that are not listed: a link in place of a folder is deleted, and not followed.
        list(pool.map(RefitFolder.delete, [row.folder for row in refits]))


def _check_removed(folders: Sequence[RefitFolder]) -> None:
    remaining = [folder.uri for folder in folders if folder.exists()]
    if remaining:
        raise LakeError(
            f"{format_count(len(remaining), 'folder')} of removed refits cannot be deleted, such as {remaining[0]}: "
            "grant the permission to delete their files, then run pomona prune again"
        )
