"""One run of `kfsession route`, which DESIGN.md calls `routing.py`.

Read `run` (look, submit, wait, look again), then `plan` (what one look comes to) with `view` (what
WeChat shows), `standing` (whom to leave alone) and `spread` (who goes to whom), and last `tally`
(what became of the requests).
"""
