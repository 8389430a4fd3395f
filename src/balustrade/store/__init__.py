"""Where things are kept: an append-only log and keyed values, embedded by default."""
