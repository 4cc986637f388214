"""Delta tables without lake semantics: reading with delta-rs, the transaction log, idempotent writes, time travel."""
