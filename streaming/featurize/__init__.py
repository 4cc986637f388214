"""One micro-batch: Python worker, crash isolation, commit, pipelined scheduling."""
