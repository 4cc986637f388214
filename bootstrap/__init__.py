"""From an empty AWS account to a cluster that ingests (to come)."""
