"""What `spark-submit` runs on a cluster: the command `pomona`, with the words that follow this file's name."""

from pomona.cli import main

main()
