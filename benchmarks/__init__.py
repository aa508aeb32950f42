"""Benchmarks: one module a budget; `python -m benchmarks [NAME]` runs them and judges against budgets.toml."""
