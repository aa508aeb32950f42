"""Training runs: chosen, compared, registered."""
