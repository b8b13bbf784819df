"""An hour of steady load and steady trouble: `python -m ops.chaos.soak`."""
