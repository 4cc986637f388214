"""Batch_pca/report/page."""
