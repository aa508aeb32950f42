"""Parts of the Live predict page."""
