"""`pomona cloud example` and `prices`: print an example configuration or price table."""

from __future__ import annotations

from pathlib import Path


def example() -> None:
    """Print a commented example configuration.

    Example: pomona cloud example > cluster.toml
    """
    _print_file("cluster.example.toml")


def prices() -> None:
    """Print an empty price table for `estimate`.

    Example: pomona cloud prices > prices.toml
    """
    _print_file("prices.example.toml")


def _print_file(name: str) -> None:
    """Print a file of the package `bootstrap`."""
    import bootstrap
    from pomona.output.console import Console

    console = Console()
    for line in Path(bootstrap.__file__).with_name(name).read_text().splitlines():
        console.print(line)
