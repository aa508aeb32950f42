"""Revisions, each of which the release before it survives."""
