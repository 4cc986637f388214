"""The subcommands of `pomona cloud`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pomona.cloud.clone import clone
from pomona.cloud.down import down
from pomona.cloud.estimate import estimate
from pomona.cloud.example import example, prices
from pomona.cloud.logs import logs
from pomona.cloud.plan import plan
from pomona.cloud.policy import policy
from pomona.cloud.resize import resize
from pomona.cloud.status import status
from pomona.cloud.template import template
from pomona.cloud.tunnel import tunnel
from pomona.cloud.up import up

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _about() -> None:
    """Run Pomona on AWS, configured by one file.

    Example: pomona cloud plan -f cluster.toml
    """


#: Commands that send no request to AWS.
_OFFLINE = (example, template, prices)


def _use_profile(profile: str | None) -> str | None:
    """Let boto3 and the AWS CLI use a profile, as `aws --profile` does: keys in environment variables are ignored."""
    if profile:
        os.environ["AWS_PROFILE"] = profile
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
    return profile


_Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="AWS profile; overrides AWS_PROFILE.", callback=_use_profile),
]


def _with_profile(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the option `--profile`."""

    @functools.wraps(command)
    def wrapper(*args: Any, profile: str | None = None, **kwargs: Any) -> None:
        command(*args, **kwargs)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter(
        "profile", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Profile
    )
    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option]
    )
    return wrapper


for command in (
    example,
    template,
    policy,
    plan,
    up,
    status,
    logs,
    tunnel,
    clone,
    resize,
    down,
    estimate,
    prices,
):
    app.command()(command if command in _OFFLINE else _with_profile(command))
