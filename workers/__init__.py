"""Scheduled work: compaction, truth, drift, reconciliation, training."""
