"""Whether traffic still looks like the reference: rows, scores, thresholds, confirmation, a classifier, and the quality of the data."""
