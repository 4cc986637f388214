"""Files and objects behind one interface: local folders, S3, URIs, retries, conditional create."""
