"""The ways to open sessions that are raced against each other."""
