"""Routes, one file per resource; they translate and call services."""
