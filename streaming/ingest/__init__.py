"""The running pipeline: `ingest()`, its settings, the streaming query, recovery, requests, warm-up."""

from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings, IngestSummary

__all__ = ["IngestSettings", "IngestSummary", "ingest"]
