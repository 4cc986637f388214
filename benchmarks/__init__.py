"""Benchmarks of Pomona against other tools.

Each competitor runs in its own process, on the same images, in the same session. `python -m benchmarks` measures and
writes `BENCHMARKS.md`. `peers/` holds the competitors, each written in the style of its own documentation.
"""
