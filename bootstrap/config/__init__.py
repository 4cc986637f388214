"""Cluster.toml: schema, loader, derived names and ARNs."""
