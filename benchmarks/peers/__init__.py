"""Contestants, one small program each: `python -m benchmarks.peers.NAME WORDS` works once and prints a line of JSON."""
