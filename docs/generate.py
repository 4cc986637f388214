"""Generate the reference pages that are derived from the code: run `python docs/generate.py`.

- docs/reference/cli.md, from the commands of Pomona
- docs/reference/tables.md, from the schemas of the lake's tables
- docs/reference/python-api.md, from the docstrings of the public Python interface
- docs/reference/iam-permissions.md, from the IAM policies of bootstrap
- docs/reference/cluster-toml.md, from the schema and the example of the configuration
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, get_type_hints

import typer

import bootstrap
import pomona
import streaming.errors
from batch_pca.pca.projection import Projection
from batch_pca.refit import RefitResult
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.prune import PruneResult, RemovedRefit
from bootstrap.config.names import Names
from bootstrap.config.schema import REQUIRED, ClusterConfig, Ingest
from bootstrap.resources.iam_node_policies import job_policy, node_policy
from bootstrap.resources.iam_policies import (
    Statement,
    evaluator_policy,
    scheduler_policy,
    service_policy,
)
from pomona.api import OpenLake, Pca
from pomona.cli import app
from pomona.similarity.duplicates import DuplicateGroup, DuplicatesResult, NearDuplicates
from pomona.similarity.search import Neighbor, SimilarityResult
from streaming.featurize.results import BatchResult
from streaming.ingest.settings import IngestSummary, Stage
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.model.mobilenet_v2 import WIDTH

REFERENCE = Path(__file__).parent / "reference"

_CLI_HEAD = """# Command-line reference

Generated from the code by `python docs/generate.py`. LAKE and SOURCE are folders or `s3://` URIs."""


def _command_sections(command: Any, name: str) -> Iterator[str]:
    """Yield a section for a command and for each of its subcommands."""
    context = command.make_context(name, [], resilient_parsing=True)
    text = [line.strip() for line in (command.help or "").strip().splitlines()]
    lines = [f"## {name}", ""]
    for line in text:
        example = line.partition("Example: ")[2]
        lines += ["```sh", example, "```"] if example else [line]
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        if parameter.param_type_name == "argument":
            label = parameter.metavar or parameter.name.upper()
        else:
            label = ", ".join((*parameter.opts, *parameter.secondary_opts))
            if not parameter.is_flag:
                label += f" {parameter.display_type_rich(ctx=context)}"
        if parameter.required:
            default = "required"
        elif parameter.default is None or parameter.default is False or callable(parameter.default):
            default = ""
        else:
            default = f"`{parameter.default}`"
        rows.append((f"`{label}`", parameter.help or "", default))
    if rows:
        lines += ["", _table(("parameter", "description", "default"), rows)]
    yield "\n".join(lines)
    for subname, subcommand in getattr(command, "commands", {}).items():
        yield from _command_sections(subcommand, f"{name} {subname}")


def render_cli() -> str:
    """Return the text of the command-line reference."""
    command = typer.main.get_command(app)
    return "\n\n".join([_CLI_HEAD, *_command_sections(command, "pomona")]) + "\n"


_PYTHON_HEAD = """# Python interface

Generated from the docstrings by `python docs/generate.py`. Tests run the examples in a folder with eight images in
`fruits/`, of which a lake in `lake/` has the features and one refit with three components.

`import pomona` loads neither Spark nor TensorFlow. Reading a lake starts Spark only if a method says so."""

#: The public Python interface, by section of the page.
PUBLIC: dict[str, tuple[Any, ...]] = {
    "Read a lake": (
        pomona.open_lake,
        OpenLake,
        Pca,
        Projection,
        SimilarityResult,
        Neighbor,
        DuplicatesResult,
        DuplicateGroup,
        NearDuplicates,
        PruneResult,
        RemovedRefit,
    ),
    "Ingest images": (
        pomona.ingest,
        pomona.IngestSettings,
        IngestSummary,
        BatchResult,
        Stage,
    ),
    "Refit": (
        pomona.refit,
        pomona.RefitOptions,
        pomona.FitOptions,
        pomona.DriftThresholds,
        RefitResult,
        RefitRow,
    ),
}
#: Public objects that are imported from the package `pomona`.
_IN_PACKAGE = frozenset(pomona.__all__)

_SECTION = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)


def render_python_api() -> str:
    """Return the text of docs/reference/python-api.md."""
    parts = [_PYTHON_HEAD]
    for heading, objects in PUBLIC.items():
        parts.append(f"## {heading}")
        for item in objects:
            parts += _class(item) if inspect.isclass(item) else _function(item, item.__name__)
    tree = inspect.getdoc(streaming.errors) or ""
    summary, _, rest = tree.partition("\n\n")
    text = f"{summary} They are defined in `streaming.errors`, and can be imported from `pomona`."
    parts += ["## Exceptions", text, f"```text\n{rest}\n```"]
    return "\n\n".join(parts) + "\n"


#: Methods of public classes that only Pomona calls.
_INTERNAL = frozenset({"IngestSummary.add", "RefitOptions.as_json", "RefitRow.parse"})


def public_members(cls: type) -> dict[str, Any]:
    """Return the methods and properties of a class that are public."""
    return {
        name: member
        for name, member in vars(cls).items()
        if isinstance(member, property | FunctionType)
        and not name.startswith("_")
        and f"{cls.__name__}.{name}" not in _INTERNAL
    }


def _class(cls: type) -> Iterator[str]:
    """Yield the blocks of a class: its docstring, then its methods and properties."""
    yield f"### class {_qualified(cls)}"
    defaults = None
    if dataclasses.is_dataclass(cls):
        defaults = {field.name: _default(field) for field in dataclasses.fields(cls)}
    yield from _docstring(cls, defaults)
    for name, member in public_members(cls).items():
        if isinstance(member, property):
            yield f"#### {cls.__name__}.{name}"
            yield from _docstring(member)
        else:
            yield from _function(member, f"{cls.__name__}.{name}")


def _function(function: Any, name: str) -> Iterator[str]:
    """Yield the blocks of a function or method: its signature and its docstring."""
    is_method = "." in name
    yield f"#### {name}" if is_method else f"### {_qualified(function)}"
    yield f"```text\n{name}({', '.join(_parameters(function))})\n```"
    yield from _docstring(function)


def _qualified(item: Any) -> str:
    return f"{'pomona' if item.__name__ in _IN_PACKAGE else item.__module__}.{item.__name__}"


def _parameters(function: Any) -> Iterator[str]:
    keyword_only = False
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            yield "*"
        if parameter.default is parameter.empty:
            yield name
        else:
            yield f"{name}={'...' if callable(parameter.default) else repr(parameter.default)}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return "" if field.default_factory is not dataclasses.MISSING else "required"


def _docstring(item: Any, defaults: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the blocks of a docstring in numpydoc format; `defaults` adds a column to the table of parameters."""
    text, *sections = _SECTION.split(inspect.getdoc(item) or "")
    yield _unquoted(text.strip()).replace(
        "`streaming.lake.schemas.REFITS`", "[Table schemas](tables.md#refits)"
    )
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        if heading == "Examples":
            yield f"```pycon\n{body.strip()}\n```"
        elif heading == "Returns":
            ((kind, _, description),) = _entries(body)
            yield f"Returns: {kind}. {description}".strip()
        elif heading == "Raises":
            yield _table(
                ("raises", "condition"), ((_names(n), text) for n, _, text in _entries(body))
            )
        elif heading == "Parameters" and defaults:
            rows = ((_names(n), kind, defaults[n], text) for n, kind, text in _entries(body))
            yield _table(("parameter", "type", "default", "description"), rows)
        elif heading in ("Parameters", "Attributes"):
            rows = ((_names(n), kind, text) for n, kind, text in _entries(body))
            yield _table((heading.lower().removesuffix("s"), "type", "description"), rows)
        else:
            raise ValueError(f"{item}: section {heading} of the docstring is not supported")


def _entries(body: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and description of the entries of a section."""
    for entry in re.split(r"\n(?=\S)", body.strip()):
        head, _, description = entry.partition("\n")
        name, _, kind = head.partition(" : ")
        yield name, kind, " ".join(_unquoted(description).split())


def _names(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _unquoted(text: str) -> str:
    """Return reStructuredText literals as Markdown code."""
    return text.replace("``", "`")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *(tuple(row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


_TABLES_HEAD = """# Table schemas

Generated from the code by `python docs/generate.py`. The comments on tables and columns are also stored in the Delta
tables."""


def render_tables() -> str:
    """Return the text of the page of table schemas."""
    parts = [_TABLES_HEAD]
    for table in (features_table(WIDTH), QUARANTINE, REFITS):
        rows = (
            (
                f"`{column.name}`",
                f"`{column.type}`",
                "yes" if column.nullable else "no",
                column.comment,
            )
            for column in table.columns
        )
        parts += [
            f"## {table.name}",
            f"{table.comment}.",
            _table(("column", "type", "nullable", "description"), rows),
        ]
        for kind, entries in (("constraint", table.constraints), ("property", table.properties)):
            if entries:
                parts.append(
                    _table((kind, "value"), ((f"`{k}`", f"`{v}`") for k, v in entries.items()))
                )
    return "\n\n".join(parts) + "\n"


_CONFIG_HEAD = """# Configuration of a cluster

Generated from the schema by `python docs/generate.py`. `pomona cloud example` prints a `cluster.toml` with all keys;
only `name` and `region` are required. An error names the line, the value and the allowed values."""


def render_config() -> str:
    """Return the text of docs/reference/cluster-toml.md."""
    example = (Path(bootstrap.__file__).parent / "cluster.example.toml").read_text()
    comments, table = dict[str, str](), ""
    for line in example.splitlines():
        if heading := re.match(r"\[(\w+)\]", line):
            table = f"{heading[1]}."
        elif key := re.match(r'(?:# )?(\w+) = (?:"[^"]*"|[^"#])+# *(.*)', line):
            comments[table + key[1]] = key[2]
    parts = [_CONFIG_HEAD, _config_table(ClusterConfig, "", comments)]
    for name, kind in get_type_hints(ClusterConfig).items():
        if dataclasses.is_dataclass(kind):
            summary = (kind.__doc__ or "").partition("\n")[0]
            parts += [f"## {name}", summary, _config_table(kind, f"{name}.", comments)]
    return "\n\n".join(parts) + "\n"


def _config_table(kind: Any, prefix: str, comments: dict[str, str]) -> str:
    """Return the table of the keys of a table of the configuration."""
    rows = []
    for field in dataclasses.fields(kind):
        if "allowed" in field.metadata:
            empty = "required" if prefix + field.name in REQUIRED else ""
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            default = empty if value in (None, []) else f"`{json.dumps(value)}`"
            text = comments[prefix + field.name].replace("|", "\\|")
            rows.append((f"`{field.name}`", default, field.metadata["allowed"], text))
    return _table(("key", "default", "allowed values", "description"), rows)


_IAM_HEAD = """# IAM permissions

Generated from the code by `python docs/generate.py`. `pomona cloud up` creates these roles with these
inline policies; every statement is an Allow statement. `NAME` is the `name` in `cluster.toml`, `ACCOUNT` the
account number, `REGION` the region. The tables show the default prefixes; other buckets and prefixes in
`cluster.toml` change the ARNs. If the images are in another bucket, the roles that read them get a statement that
lists that bucket, and `Locate` names it too.

- A role that an AWS service assumes trusts this service only on behalf of this account (`aws:SourceAccount`,
  `aws:SourceArn`). The role of the nodes is the exception: EC2 supports no source condition.
- `NAME-service` also has the AWS managed policy `AmazonEMRServicePolicy_v2`. It contains what EMR needs in EC2,
  limited to resources with the tag `for-use-with-amazon-emr-managed-policies`, which the subnet, the security
  groups, the cluster and, with `network.private`, the VPC get.
- `NAME-evaluator` is for the principals in `evaluator.principals`, or else for the account.
- `KeepNotebooks` exists only with the release `emr-7.13.0`, which has JupyterHub.
- No role can read the logs; the administrators of the account can.

Other settings of `cluster.toml` add statements, which `pomona cloud template` prints: `[encryption]` for the use of the
keys, `[glue]` to register the tables and, for the evaluator, to query them with Athena, `[alarms]` for metrics and
decryption of the topic's messages, `limits.hours` to end the cluster, and a `storage.lake` below other folders to look
up these folders."""


def iam_roles() -> dict[str, list[Statement]]:
    """Return the statements of each role, with placeholders for name, account and region."""
    plain = Names(ClusterConfig(name="NAME", region="REGION"), account="ACCOUNT")
    once = Names(
        ClusterConfig(name="NAME", region="REGION", ingest=Ingest("once")), account="ACCOUNT"
    )
    serverless = Names(
        ClusterConfig(name="NAME", region="REGION", mode="serverless"), account="ACCOUNT"
    )
    return {
        "NAME-service": service_policy(plain),
        "NAME-nodes": node_policy(plain),
        "NAME-job (EMR Serverless)": job_policy(serverless),
        "NAME-scheduler": scheduler_policy(plain),
        'NAME-scheduler (ingest.mode = "once")': scheduler_policy(once),
        "NAME-scheduler (EMR Serverless)": scheduler_policy(serverless),
        "NAME-evaluator": evaluator_policy(plain),
    }


def _statement_row(statement: Statement) -> str:
    conditions = []
    for operator, tests in statement.condition.items():
        for key, values in tests.items():
            patterns = [values] if isinstance(values, str) else values
            alternatives = " or ".join(f"`{pattern}`" for pattern in patterns)
            conditions.append(f"`{key}` {operator} {alternatives}")
    cells = [
        statement.sid,
        ", ".join(f"`{action}`" for action in statement.actions),
        ", ".join(f"`{resource}`" for resource in statement.resources),
        "; ".join(conditions),
        statement.purpose,
    ]
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |"


def render_iam() -> str:
    """Return the text of the page of IAM permissions."""
    sections = [
        "\n".join(
            [
                f"## {role}",
                "",
                "| statement | actions | resources | condition | purpose |",
                "| --- | --- | --- | --- | --- |",
                *map(_statement_row, statements),
            ]
        )
        for role, statements in iam_roles().items()
    ]
    return "\n\n".join([_IAM_HEAD, *sections]) + "\n"


#: Pages below docs/reference/ and the functions that render them.
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": render_cli,
    "python-api.md": render_python_api,
    "tables.md": render_tables,
    "iam-permissions.md": render_iam,
    "cluster-toml.md": render_config,
}


if __name__ == "__main__":
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render())
