"""From an empty AWS account to a running pipeline: requests as plain dicts first, boto3 last."""
