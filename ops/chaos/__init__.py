"""Hand-run trials: the whole system on this machine, while something of it is broken on purpose."""
