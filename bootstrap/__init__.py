"""Set up Pomona on AWS: requests are built as plain dictionaries, and boto3 sends them."""
