"""Read-only answers as plain dicts: status, freshness, history, tags, diff, image history, provenance."""
