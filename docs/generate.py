"""Generate docs/reference/cli.md, the command-line reference, from the code: run `python docs/generate.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pomona.cli import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
_HEAD = """# Command-line reference

Generated from the code by `python docs/generate.py`. LAKE and SOURCE are folders or `s3://` URIs."""


def sections(command: Any, name: str) -> Iterator[str]:
    """Yield a section for a command and for each of its subcommands."""
    text = [line.strip() for line in (command.help or "").strip().splitlines()]
    lines = [f"## {name}", ""]
    for line in text:
        example = line.partition("Example: ")[2]
        lines += ["```sh", example, "```"] if example else [line]
    rows = []
    for one in command.params:
        if getattr(one, "hidden", False) or "--help" in one.opts:
            continue
        argument = one.param_type_name == "argument"
        label = one.metavar or one.name.upper() if argument else ", ".join(one.opts)
        if one.required:
            default = "required"
        elif one.default is None or one.default is False or callable(one.default):
            default = ""
        else:
            default = f"`{one.default}`"
        rows.append(f"| `{label}` | {one.help or ''} | {default} |")
    if rows:
        lines += ["", "| parameter | description | default |", "| --- | --- | --- |", *rows]
    yield "\n".join(lines)
    for subname, subcommand in getattr(command, "commands", {}).items():
        yield from sections(subcommand, f"{name} {subname}")


def render() -> str:
    """Return the text of the page."""
    return "\n\n".join([_HEAD, *sections(typer.main.get_command(app), "pomona")]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
