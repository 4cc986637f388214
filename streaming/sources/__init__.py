"""Where images are found: listing a folder or prefix, the stream's source; S3 events and label rules come here."""
