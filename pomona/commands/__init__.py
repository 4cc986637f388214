"""One file per command: its options and the rendering of its result."""
