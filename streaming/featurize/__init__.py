"""One micro-batch: Python worker, partitions, crash isolation, commit, pipelined scheduling."""
