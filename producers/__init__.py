"""The producers' side: `SessionProducer` writes requests and tells what became of them.

Importing reads no setting and opens nothing.
"""

import sys

try:
    import worker.contract  # noqa: F401 - only to see that it is there, and ours
except ImportError as error:
    _found = getattr(sys.modules.get("worker"), "__file__", None)
    _what = f"another one comes first: {_found}" if _found else "it cannot be found"
    raise ImportError(
        f"`producers` needs kfsession's own package `worker`, and {_what}. Put kfsession's"
        " directory first on sys.path; or submit without this import, through the HTTP gateway, or"
        " with plain Celery: app.send_task('kfsession.submit',"
        " args=[{'kf_account': …, 'openid': …}], queue='kf.escalation')"
    ) from error

from producers.failures import SubmitFailed
from producers.producer import Change, SessionProducer
from worker.contract.record import Record, Status
from worker.contract.request import InvalidRequest, Lane, SessionRequest
from worker.contract.settings import InvalidSettings
from worker.errors import LedgerUnavailable
from worker.ledger.receipts import Receipt

__all__ = [
    "Change",
    "InvalidRequest",
    "InvalidSettings",
    "Lane",
    "LedgerUnavailable",
    "Receipt",
    "Record",
    "SessionProducer",
    "SessionRequest",
    "Status",
    "SubmitFailed",
]
