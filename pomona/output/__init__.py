"""Console rendering, redaction of secrets, durations."""
