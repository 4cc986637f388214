"""Pomona beside its peers: every contestant a process of its own, on the same images, in one run.

`python -m benchmarks` measures and writes `BENCHMARKS.md`; `peers/` holds the contestants, each as its users write it.
"""
