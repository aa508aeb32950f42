"""Work that a person asks for: forecasts of many tracks, training, evaluation."""
