"""Adapters for quotas that several processes share."""
