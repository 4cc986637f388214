"""Status, runs and logs of what is running."""
