"""Benchmarks of Pomona against other tools.

Each competitor runs in its own process, on the same images, in the same session. `python -m benchmarks` measures and
writes `BENCHMARKS.md`. The other modules in this folder are programs too: `compare_refits` and `engine_backends`.

- `report/`: the text and the plots of `BENCHMARKS.md`
- `sections/`: what is measured, one module per section of the report
- `inputs/`: images, lakes and sizes
- `measuring/`: how a competitor is run and measured
- `peers/`: the competitors, each written in the style of its own documentation
"""
