"""The report `BENCHMARKS.md`: its template, tables, targets, extrapolation and plots."""
