"""What the peers run: the usual programs for this work, each as its own documentation writes it."""
