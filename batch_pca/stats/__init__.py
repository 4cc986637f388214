"""Sufficient statistics of a snapshot: full scan or incremental from the change data feed."""
