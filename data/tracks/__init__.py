"""Positions of agents that all API processes share."""
