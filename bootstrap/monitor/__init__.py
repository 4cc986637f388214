"""Status, runs and logs of clusters and applications."""
