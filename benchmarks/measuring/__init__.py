"""Tools that measure a competitor from outside: its process, duration and memory, its table, the machine."""
