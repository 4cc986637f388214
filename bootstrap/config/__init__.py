"""The configuration file cluster.toml: schema, loader, derived names and ARNs."""
