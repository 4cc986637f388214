"""Competitors: `python -m benchmarks.peers.NAME ARGUMENTS` works once and prints a line of JSON."""
