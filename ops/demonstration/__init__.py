"""The demo: `plan` says who comes and what must become of each, `system` runs all parts here,
`course` lets the fans arrive, `view` shows it, `verdict` compares; `performance` is the whole.
"""
