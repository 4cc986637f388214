"""SSH / Session Manager tunnel: commands, pre-flight checks, session."""
