"""Alerts: when something is wrong, who is told, and what has become of it."""
