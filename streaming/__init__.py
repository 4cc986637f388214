"""Stream images from a folder or an S3 prefix into a Delta table of features."""

__version__ = "0.1.0"
