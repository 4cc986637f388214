"""`pomona cloud …`: one file per subcommand."""
