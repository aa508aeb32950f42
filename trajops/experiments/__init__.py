"""Experiments: stable assignment of units to arms."""
