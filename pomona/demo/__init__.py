"""`pomona demo` and its generated sample images."""
