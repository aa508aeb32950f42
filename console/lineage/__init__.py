"""Where a version comes from, and what became of it."""
