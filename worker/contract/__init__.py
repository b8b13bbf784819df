"""What producers, workers and dashboards agree on: requests, records, codes, settings; no I/O."""
