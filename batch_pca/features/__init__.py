"""A pinned snapshot of the features table, read from Parquet in the workers."""
