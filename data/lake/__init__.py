"""The telemetry lake: append-only spool, Parquet, DuckDB on top."""
