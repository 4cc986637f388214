"""From a prefix of images that keeps growing to a Delta table of features."""

__version__ = "0.1.0"
