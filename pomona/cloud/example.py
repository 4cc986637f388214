"""`pomona cloud example`: print an example configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pomona.output.console import Console


def tell_example(name: str, screen: Console) -> None:
    """Print one of the examples that come with `bootstrap`, to begin with."""
    import bootstrap

    example = Path(bootstrap.__file__).with_name(name).read_text()
    for line in example.splitlines():
        screen.line(line)


def example() -> None:
    """Print a description with comments, to begin with.

    Example: pomona cloud example > cluster.toml
    """
    from pomona.output.console import Console

    tell_example("cluster.example.toml", Console())
