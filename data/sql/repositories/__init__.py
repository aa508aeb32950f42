"""Repositories: the few statements that the control state needs, one file per group of tables."""
