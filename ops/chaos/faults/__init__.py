"""The faults, by what they break; `ops.chaos.faults.table` has them all."""
