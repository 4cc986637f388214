"""Single-writer lease: flock locally, conditional-put lease on S3, fencing of paused writers."""
