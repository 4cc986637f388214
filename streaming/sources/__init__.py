"""Where images are found: list a folder or prefix, and stream over it."""
