"""Gates, rank and card of model versions."""
