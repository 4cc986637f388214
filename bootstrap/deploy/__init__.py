"""Plan/apply, clone and resize, teardown."""
