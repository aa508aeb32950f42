"""Which model version is chosen, and what it must stand before it may be staged."""
