"""The Jobs page: batch forecasts, training runs and evaluations, started, followed and ended."""
