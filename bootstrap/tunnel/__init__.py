"""SSH and Session Manager tunnels: commands, pre-flight checks, session."""
