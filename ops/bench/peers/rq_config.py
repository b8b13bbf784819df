"""What workers of RQ read when they start (`--config`): their queue, and what to import first.

Without that import each job's own process imports `requests` anew, which takes 80 ms of CPU; RQ's
notes on performance say so.
"""

from __future__ import annotations

from ops.bench.peers import call

QUEUES = ["sessions"]
JOB = call.open_session
