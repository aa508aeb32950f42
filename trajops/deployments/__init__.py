"""Deployments: which model version may take traffic, and how a request finds its model."""
