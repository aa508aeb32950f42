"""The prediction API: FastAPI over the core's services."""

import gc

# Importing makes many objects, and nearly all of them stay: looking for garbage among them again and again took a sixth of the start.
gc.set_threshold(50_000, 20, 20)
