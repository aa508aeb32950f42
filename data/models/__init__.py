"""Model artefacts: MLflow, its REST registry and the warm loader."""
