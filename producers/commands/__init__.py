"""The producers' commands, one idea a file; `producers.cli` puts them together."""
