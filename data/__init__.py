"""Storage adapters: SQL, the telemetry lake, model artefacts and datasets."""
