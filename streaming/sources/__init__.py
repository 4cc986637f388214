"""Sources of images: list a folder or S3 prefix, and stream over it."""
