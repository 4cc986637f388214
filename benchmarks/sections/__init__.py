"""Sections of the benchmarks, one module with `measure` each; `stream` runs a stream, `results` stores sections."""
