"""`pomona cloud clone`: create a new cluster like an existing one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import Cluster, ConfigFile, DryRun, Json
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.cloud.estimate import WorkloadOptions


def clone(
    cluster: Cluster,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of cluster.toml; repeat it.")
    ] = None,
    with_steps: Annotated[
        bool, typer.Option("--with-steps", help="Begin with its steps that are not over.")
    ] = False,
    dry_run: DryRun = False,
    file: ConfigFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Make a new cluster like CLUSTER, with changes, and show the difference.

    Example: pomona cloud clone fruits --set instances.core=4 --set instances.type=m5.2xlarge
    """

    changes = parse_settings(settings or ())
    clone_and_tell(file, cluster, changes, (dry_run, with_steps), as_json=as_json)


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as they are typed.

    Raises
    ------
    UsageError
        For a word without both.
    """
    made = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--set {word}: write KEY=VALUE, such as instances.core=4")
        made[key.strip()] = value.strip()
    return made


def clone_and_tell(
    file: str,
    cluster: str,
    settings: Mapping[str, str],
    how: tuple[bool, bool],
    *,
    load: WorkloadOptions | None = None,
    as_json: bool,
) -> None:
    """Make a cluster like another, with changes; tell the difference first.

    Parameters
    ----------
    file : str
        The description, which says in which account and region the cluster is.
    cluster : str
        Name or id.
    settings : dict of str
    how : (bool, bool)
        Whether to send nothing, and whether to begin with the steps that are not over in the other.
    load : LoadWords or None
        What is estimated before and after; None: nothing is.
    as_json : bool
    """
    from pomona.cloud.estimate import compare_requests, compared_lines
    from pomona.cloud.render_plan import readable
    from pomona.cloud.session import open_cluster_config, translate_cloud_errors
    from pomona.output.console import Console

    dry, with_steps = how
    with translate_cloud_errors():
        from bootstrap.deploy.clone import clone

        screen, (config, account) = Console(as_json=as_json), open_cluster_config(file)
        made = clone(account.read, cluster, settings, with_steps=with_steps)
        found = compare_requests(load, config, made.before, made.request) if load else None
        old = made.cluster["Id"]
        screen.line(f"{old} ({made.cluster['Name']}) -> a new cluster:")
        for line in made.differences or ["nothing else is different"]:
            screen.line(f"    {line}")
        if load and not as_json:
            for line in compared_lines(found):
                screen.line(line)
        new = None
        if not dry:
            answer = account.send("emr", "run_job_flow", made.request)
            new = str(answer["JobFlowId"])
    if as_json:
        answer = {"cluster": old, "differences": made.differences, "made": new}
        estimate = {"estimate": found} if load else {}
        screen.show(answer | {"request": readable(made.request)} | estimate)
    elif new:
        screen.line(f"cluster: {new}")
        screen.line(f"{old} runs on; `pomona cloud up` gives {new} its ingestion and its schedule")
        if with_steps:
            screen.line("a lake has one writer: the new one's ingestion waits for the other's end")
    else:
        screen.line("nothing was sent")
