"""Cluster configurations, names and small upload files for the tests of AWS resources."""

from __future__ import annotations

from pathlib import Path

from bootstrap.aws.request import LocalFile, Parameters, Request
from bootstrap.config.loader import parse_config
from bootstrap.config.names import Names
from bootstrap.resources.uploads import Uploads
from support.aws.account import ACCOUNT

MINIMAL = 'name = "fruits"\nregion = "eu-west-1"\n'
CODE = ("bootstrap_emr.sh", "submit.py", "fenced-log-store.jar")
#: Lines added to `MINIMAL`; together they cover every branch of the requests.
VARIANTS = {
    "stream": "",
    "once": 'ingest.mode = "once"\nrefit.schedule = "cron(0 2 * * ? *)"\n',
    "private": (
        'storage.images = "s3://pictures/fruits/"\ninstances.task = 1\nresidency = "eu"\nrelease = "emr-spark-8.0.0"\n'
        'network = {private = true, ssh_key = "mine", ssh_from = ["192.0.2.1/32"]}\n'
    ),
    "fleets": (
        'instances = {types = ["m5.xlarge", "m6i.xlarge"], task = 3, task_on_demand = 1}\nlimits.on_demand = 4\n'
        'network.subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]\n'
    ),
    "serverless": 'mode = "serverless"\n',
    "serverless once": 'mode = "serverless"\ningest.mode = "once"\nrefit.schedule = "cron(0 2 * * ? *)"\n',
}


def names(more: str = "") -> Names:
    """Return the names for `MINIMAL` with more lines."""
    return Names(parse_config((MINIMAL + more).encode()), ACCOUNT)


def uploads(folder: Path) -> Uploads:
    """Create small placeholder files for the environment, code and model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("environment.tar.gz", *CODE, "model.json", "model.onnx"):
        (folder / name).write_text(f"placeholder for {name}")
    return Uploads(
        environment=LocalFile.from_path(folder / "environment.tar.gz"),
        code={name: LocalFile.from_path(folder / name) for name in CODE},
        model={
            f"mobilenet-1/{n}": LocalFile.from_path(folder / n)
            for n in ("model.json", "model.onnx")
        },
    )


def parameters(requests: list[Request], operation: str) -> Parameters:
    """Return the parameters of the only request with this operation."""
    (found,) = [request for request in requests if request.operation == operation]
    return found.parameters
