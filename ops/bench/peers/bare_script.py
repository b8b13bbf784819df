"""Takes a file of fans, opens a session for each as fast as threads can, and keeps no record.

Run as `python -m ops.bench.peers.bare_script URL KF_ACCOUNT FILE`: it stops itself (SIGSTOP), and
whenever it is continued it reads the file, does the work, and stops itself again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import requests
import requests.adapters

#: As many calls at the same time as our worker makes.
THREADS = 64
_TIMEOUT_SECONDS = 10


def main() -> None:
    """Go on until it is killed."""
    url, kf_account, file = sys.argv[1:]
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))

    def work(openids: Iterator[str]) -> None:
        for openid in openids:  # the threads share one iterator
            wish = {"kf_account": kf_account, "openid": openid}
            answer = session.post(url, json=wish, timeout=_TIMEOUT_SECONDS)
            if errcode := answer.json()["errcode"]:
                raise SystemExit(f"{openid}: {errcode}")

    while True:
        signal.raise_signal(signal.SIGSTOP)
        openids = iter(Path(file).read_text().split())
        threads = [threading.Thread(target=work, args=(openids,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
