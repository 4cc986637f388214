"""Entry point for `spark-submit` on a cluster: runs the command `pomona` with the given arguments."""

from pomona.cli import main

main()
