"""The command that fits the scaler and the PCA: `pomona refit`."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import AsOf, Json, LakeArgument
from streaming.errors import UsageError

app = typer.Typer()


@app.command()
def refit(
    lake: LakeArgument,
    components: Annotated[int | None, typer.Option(help="Number of components to keep.")] = None,
    variance: Annotated[
        float | None, typer.Option(help="Share of the variance to explain (0.95 unless set).")
    ] = None,
    as_of: AsOf = None,
    fit_on: Annotated[
        str | None, typer.Option(help="Fit on the rows below this prefix; transform all.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Again and again, such as 30m, 1h or 1d apart.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all rows, and fit even what has not changed.")
    ] = False,
    max_drift: Annotated[
        list[str] | None,
        typer.Option(help="What is told as drift: angle=15, shift=0.5, label=1 unless set."),
    ] = None,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with 3 where a limit was passed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit StandardScaler and PCA on all rows of LAKE, and publish the reduced vectors.

    Example: pomona refit ./lake --components 50
    """
    from batch_pca.pca.fit import FitOptions
    from batch_pca.refit import RefitOptions
    from pomona.refitting import drift_limits, refit_and_tell, refit_every

    if every and as_of:
        raise UsageError(
            "--every with --as-of would fit the same version again and again: drop one"
        )
    unset = components is None and variance is None
    fit = FitOptions(components, 0.95 if unset else variance)
    options = RefitOptions(fit, as_of, fit_on, full, drift_limits(max_drift or ()))
    if every:
        refit_every(lake, options, every, fail_on_drift=fail_on_drift, as_json=as_json)
    else:
        refit_and_tell(lake, options, fail_on_drift=fail_on_drift, as_json=as_json)
