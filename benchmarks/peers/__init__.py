"""Contestants, one small program each: `python -m benchmarks.peers.NAME WORDS` works once and prints one line of JSON."""
