"""A WeChat that runs here: receives session calls over HTTP, hands back what WeChat would.

It imports nothing of the project, so that it cannot share the client's mistakes. One call passes
through `server` (sockets) -> `api` (one call) -> `tokens`, `quota`, `faults` -> `calls` (one
function a call) -> `world` (the account's state) -> `replies`, bent as `bends` has it, and `book`
(what happened) -> `sending`; `control` answers what comes under /_simulator. Start it with
`python -m ops.simulator`, `running.run(...)` or `running.SimulatorThread(...)`.
"""
