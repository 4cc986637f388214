"""The running pipeline: `ingest()`, its settings, the streaming query, its recovery, requests, warm-up."""
