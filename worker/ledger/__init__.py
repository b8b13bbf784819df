"""The truth in Redis: every request, its state, its indexes and its timers."""
