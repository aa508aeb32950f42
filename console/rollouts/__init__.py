"""Rollouts, as the Models page shows them."""
