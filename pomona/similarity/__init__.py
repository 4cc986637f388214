"""Nearest neighbors and near-duplicates over a memory-mapped vector cache."""
