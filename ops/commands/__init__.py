"""The operators' commands, one a file; `ops.cli` puts them on the root of `kfsession`."""
