"""What people type: the command `pomona`, and the demonstration."""
