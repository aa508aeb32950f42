"""The prediction API: FastAPI over the core's services."""
