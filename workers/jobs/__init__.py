"""One file per job; each is idempotent and returns what it did."""
