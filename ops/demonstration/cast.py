"""Names the agents of a demo, and writes what tells the simulator and the worker of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ops.simulator import scenario

#: Online from the start to the end.
ANNA, BERT, CARL = ALWAYS = ("anna@demo", "bert@demo", "carl@demo")
#: Takes a break, comes late, never comes.
DORA, EMIL, FRED = "dora@demo", "emil@demo", "fred@demo"
#: Takes few at a time; is paused by an operator for a while.
GINA, HUGO = "gina@demo", "hugo@demo"
#: WeChat knows no such agent.
WRONG = "wrong@demo"

#: Who is online when the doors open.
ONLINE = dict.fromkeys((*ALWAYS, DORA, EMIL, FRED, GINA, HUGO), True) | {EMIL: False, FRED: False}
#: Fans an agent may serve at the same time; the others have no limit.
CAPACITIES = {GINA: 2}

#: Chances for a call to go wrong, as a scenario writes them.
_FAULTS = {
    "busy": 0.06,
    "html_502": 0.02,
    "cut_before": 0.02,
    "cut_after": 0.04,
    "lied": 0.02,
    "hang": 0.01,
    "garbage": 0.01,
}


def simulator_toml(seed: int, queue: Sequence[str] = ()) -> str:
    """The simulator's scenario; the fans of `queue` wait in WeChat's own queue from the start.

    The simulated WeChat lets an agent take any number of fans: that no agent gets more than fits
    is the worker's doing.
    """
    agents = "\n".join(
        f'[[agents]]\nkf_account = "{name}"\nonline = {str(is_online).lower()}\n'
        f"capacity = {CAPACITIES.get(name, 0)}\n"
        for name, is_online in ONLINE.items()
    )
    chances = "".join(f"{fault} = {chance}\n" for fault, chance in _FAULTS.items())
    return (
        "# Written by `kfsession demo`; `kfsession simulate --scenario` reads it too.\n"
        f"seed = {seed}\nlatency_ms = [20, 120]\npresence_lag_seconds = 1\n\n"
        f'[[accounts]]\nappid = "{scenario.DEFAULT_APPID}"\nsuffix = "demo"\n\n'
        f"{agents}\n[waiting]\nopenids = {json.dumps(list(queue))}\n\n[faults]\n{chances}"
    )


def accounts_toml() -> str:
    """The accounts file of the worker: its credentials, and how many fans an agent may serve."""
    capacities = "".join(f'"{name}" = {size}\n' for name, size in CAPACITIES.items())
    return (
        "# Written by `kfsession demo`; KF_ACCOUNTS_FILE names it.\n"
        f'[[account]]\nappid = "{scenario.DEFAULT_APPID}"\n'
        f'appsecret = "{scenario.DEFAULT_SECRET}"\n\n[account.capacities]\n{capacities}'
    )
