"""The commands that mend a lake: what is in quarantine, what is to go, what does not match its source."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import AsOf, Json, LakeArgument, RemoveLimit, SourceArgument
from streaming.errors import UsageError

app = typer.Typer()


@app.command()
def quarantine(
    lake: LakeArgument,
    reason: Annotated[str | None, typer.Option(help="Only images with this reason.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Take these images again.")] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List the images of LAKE that could not be featurized, and why; or take them again.

    Example: pomona quarantine ./lake --retry --reason access_denied
    """
    if retry and as_of:
        raise UsageError("--retry takes what is in quarantine now: drop --as-of")
    if retry:
        from pomona.mending import retry_and_tell

        retry_and_tell(lake, reason, as_json=as_json)
        return
    from pomona.answers import tell_quarantine

    tell_quarantine(lake, reason, as_of, as_json=as_json)


@app.command()
def forget(
    lake: LakeArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Images, as the tables name them.")
    ],
    as_json: Json = False,
) -> None:
    """Remove the rows of images from LAKE; its earlier versions keep them.

    Example: pomona forget ./lake "./fruits/Apple Braeburn/0_100.jpg"
    """
    from pomona.mending import forget_and_tell

    forget_and_tell(lake, paths, as_json=as_json)


@app.command()
def reconcile(
    source: SourceArgument,
    lake: LakeArgument,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Read every image, and compare its hash too.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Take what is missing or changed, remove what is gone.")
    ] = False,
    remove_limit: RemoveLimit = 0.5,
    as_json: Json = False,
) -> None:
    """Compare the images below SOURCE with the rows of LAKE: what is missing, changed, gone.

    Example: pomona reconcile ./fruits ./lake --hash
    """
    from pomona.mending import reconcile_and_tell

    if not 0 <= remove_limit <= 1:
        raise UsageError(f"--remove-limit is {remove_limit}: it must be 0 to 1")
    reconcile_and_tell(source, lake, (hashes, fix), remove_limit, as_json=as_json)
