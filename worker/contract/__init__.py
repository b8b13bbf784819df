"""What producers, workers and dashboards agree on: requests, records, codes and settings; no I/O."""
