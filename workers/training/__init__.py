"""Fitting one forecaster of each family on windows, evaluating it, and recording the run."""
