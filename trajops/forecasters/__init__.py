"""Model families: one file each, all held to the conformance suite in `checks.py`."""
