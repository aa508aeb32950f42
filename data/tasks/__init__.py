"""Files of tasks: what was uploaded, logs and results."""
