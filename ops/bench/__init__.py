"""Hand-run measurements: what a request costs."""
