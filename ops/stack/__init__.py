"""Runs the parts of a system on this machine: child processes that never outlive their owner.

`parts` starts them under `guard`, `embedded` is the Valkey among them, `lock` sees to it that a
directory has one owner.
"""
