"""Names every structure of the ledger; `scripts/prelude.lua` builds the same names.

Every key starts with `{<prefix>}:`, so that one server holds many deployments and a key says whose it
is. `<index>` is a status, with what tells its members apart behind it: `queued:<lane>`,
`waiting:<reason>`, `failed:<reason>`, `expired[:<reason>]`, `cancelled[:<reason>]`; the others stand
alone. Times are integer milliseconds since 1970.

| key                      | type   | what it holds                                              | read by   |
| ------------------------ | ------ | ---------------------------------------------------------- | --------- |
| request:<id>             | hash   | one record; its fields are listed at `RECORD_FIELDS`       | everybody |
| index:<index>            | zset   | ids in that state, scored by submitted_at                  | everybody |
| lane:<appid>             | zset   | who is queued for the account, in the order they are taken | worker    |
| turns                    | zset   | accounts with somebody queued, in the order of their turns | worker    |
| slots:<name>             | hash   | appid -> how many slots it holds of <host>:<pid>:<name>    | worker    |
| adopting                 | hash   | lane -> how far those are looked for who stand in none     | worker    |
| events                   | stream | one entry a change of state: id, status, reason            | everybody |
| due                      | zset   | every live id, scored by when the waiting room must act:   | worker    |
|                          |        | queued: its deadline, or now when it is to be rung;        |           |
|                          |        | calling: the end of its lease;                             |           |
|                          |        | waiting: its deadline, or its own wake time if that is     |           |
|                          |        | first (it has none in a room)                              |           |
| room:<appid>:<targets>   | zset   | ids held for the same thing: escalations first, then by    | everybody |
|                          |        | submitted_at                                               |           |
| rooms                    | zset   | every room, as <appid>:<targets>, by its wake time         | everybody |
| rooms:<appid>            | set    | the rooms of one account                                   | worker    |
| stirring                 | hash   | appid -> how far its rooms have been woken                 | worker    |
| clock                    | hash   | how evenly the server's clock runs: seen, steady, ahead;   | worker    |
|                          |        | due, rooms, watch while these are put right after it was   |           |
|                          |        | set back (see `wake.lua`)                                  |           |
| door:<appid>:<targets>   | hash   | open, ahead, strikes, wait, reason, probed (see `rooms.lua`)| worker    |
| account:<appid>          | hash   | gates and presence; its fields are listed at               | everybody |
|                          |        | `ACCOUNT_FIELDS`                                           |           |
| watch                    | zset   | accounts whose agents somebody waits for, by next reading  | worker    |
| wanted:<appid>           | string | somebody asked for a reading; expires                      | worker    |
| given:<appid>:<agent>    | zset   | ids whose session no reading can have seen, by when it was | worker    |
|                          |        | opened; +inf while the call is under way; expires          |           |
| retention                | zset   | every final id, scored by when it is removed               | worker    |
| fan:<appid>:<openid>     | string | the id of the fan's newest request                         | producers |
| doubt:<appid>:<openid>   | string | the agent who may have been given this fan unseen          | worker    |
| key:<appid>:<key>        | string | an idempotency key: "<id> <digest>"; expires               | producers |
| joined:<id>              | string | the request that a submit under this id joined; an hour    | producers |
| token:<appid>            | hash   | the account's access token, shared by all workers          | worker    |
| token:<appid>:lock       | string | who refreshes it now, and since when (ms); expires         | worker    |
| token:<appid>:forced     | string | when a forced refresh was made (ms); expires in a minute   | worker    |
| token:<appid>:forces     | string | how many were forced today; expires                        | worker    |
| accounts                 | hash   | appid -> when a worker last announced it                   | producers |
| workers                  | hash   | worker -> "<at> " and JSON {version, slots}; a worker is   | everybody |
|                          |        | <host>:<pid>:<random>                                      |           |
| serving:<appid>          | zset   | workers that serve the account, by their last sign of life | worker    |
| stepped_back:<worker>    | hash   | appid, or * for all accounts ->                            | everybody |
|                          |        | "<since> <until> <strikes> <reason> <errcode> <errmsg>";   |           |
|                          |        | to remove one has that worker probe with its next beat     |           |
| counters                 | hash   | name -> how often something odd was seen                   | everybody |
| dead                     | list   | newest 1,000 refused broker entries, as JSON               | everybody |
| replicated               | string | when a submit last waited for replicas; written for that   | nobody    |
| schema                   | string | the ledger's layout number                                 | everybody |
"""

from __future__ import annotations

from worker.contract import record, request

#: The ledger's layout. Two neighbouring releases of one layout run side by side; `README.md` says
#: how an older one is taken over, and how to go back.
SCHEMA = 2
#: Most entries the dead list keeps.
DEAD_ENTRIES = 1000
#: How much of a refused entry is kept, in characters.
DEAD_ENTRY_CHARACTERS = 4096

#: What a record's hash can hold; a field that is absent has no value or is zero.
RECORD_FIELDS = {
    "appid": "the account",
    "openid": "the fan",
    "targets": "agents in order of preference, joined by |",
    "lane": "escalation or batch",
    "status": "see Status",
    "reason": "why it waits, failed, or last waited",
    "submitted_at": "ms",
    "updated_at": "ms, of the last change of state",
    "deadline_at": "ms",
    "next_attempt_at": "ms, while waiting alone; in a room it is the room's wake time",
    "finished_at": "ms, once final",
    "served_by": "the agent who has the fan",
    "attempts": "transient and unsure attempts of this generation",
    "calls": "create calls in all",
    "generation": "one more for each retry; absent is 1",
    "key": "idempotency key",
    "metadata": "the producer's JSON, untouched",
    "because": "errcode (or -) and errmsg of what it waits or failed for, where no attempt tells",
    "a0 … a4": "newest attempts: at, target (its place, or =name), errcode, elapsed_ms, error; joined by spaces, - is none",
    "m0 … m4": "of the same attempt: rid, errmsg",
    "fence": "how often it was claimed; a stale claim's write is refused (private)",
    "holder": "whose claim it is (private)",
    "lease": "ms, the length of that claim's lease, which ends at its score in `due` (private)",
    "calling": "the agent being asked; empty when none yet (private)",
    "crashes": "failures of our own code in a row (private)",
    "cancel": "taken back during a call, or while the fan is unsure (private)",
    "out": "targets found wrong, joined by |; ?<errcode> is a code that nobody knows (private)",
    "kept_until": "ms; its idempotency key must not outlive it (private)",
}

#: What an account's hash can hold.
ACCOUNT_FIELDS = {
    "paused": "ms, since when an operator holds the account",
    "pause:<agent>": "ms, since when an operator holds this agent",
    "hold": "until when WeChat's refusal holds it (ms), reason, strikes, who probes (-: nobody)",
    "held_at": "ms, when that hold was written; one that was written later than now is over",
    "because": "errcode (or -) and errmsg of that refusal",
    "answered": "ms, about when the newest call was answered that did not hang",
    "hung": "how many calls in a row took more than a second and left the fan unsure",
    "capacity": "sessions an agent may serve (0: no limit), then names with their own",
    "began": "ms, when the newest reading of who is online began",
    "fresh": "ms, until when it is trusted",
    "next": "ms, when the next one may begin",
    "tried": "ms, when the reading or the failed try began that `next` was counted from",
    "online": "who was online, joined by |",
    "on:<agent>": "sessions that agent served",
    "off:<agent>": "ms, when WeChat last said 65415 of that agent, or a reading first missed it",
    "blind": "errcode (or -) and errmsg of why nobody can tell; absent when a reading succeeded",
    "lie:<agent>": "ms, until when a 65415 of that agent counts for more than the list; how often in a row; 1 while a call finds out",
    "lied": "ms, when the newest of these was written",
    "empty_since": "ms, since when nobody is online",
}


class Keys:
    """The keys of one deployment."""

    def __init__(self, prefix: str) -> None:
        #: What every key starts with; the one KEYS argument of every script.
        self.base = f"{{{prefix}}}:"
        self.events = self.base + "events"
        self.due = self.base + "due"
        self.retention = self.base + "retention"
        self.accounts = self.base + "accounts"
        self.workers = self.base + "workers"
        self.counters = self.base + "counters"
        self.dead = self.base + "dead"
        self.schema = self.base + "schema"
        self.rooms = self.base + "rooms"
        self.watch = self.base + "watch"
        self.turns = self.base + "turns"

    def request(self, request_id: str) -> str:
        """A record."""
        return f"{self.base}request:{request_id}"

    def index(self, status: record.Status, detail: str = "") -> str:
        """The ids of one state; `detail` is the lane while queued, else the reason."""
        return f"{self.base}index:{status}" + (f":{detail}" if detail else "")

    def lane(self, appid: str) -> str:
        """Who is queued for one account, in the order in which they are taken."""
        return f"{self.base}lane:{appid}"

    def slots(self, name: str) -> str:
        """How many slots of one worker each account holds."""
        return f"{self.base}slots:{name}"

    def fan(self, appid: str, openid: str) -> str:
        """The fan's newest request."""
        return f"{self.base}fan:{appid}:{openid}"

    def doubt(self, appid: str, openid: str) -> str:
        """The agent who may have been given this fan unseen."""
        return f"{self.base}doubt:{appid}:{openid}"

    def key(self, appid: str, key: str) -> str:
        """An idempotency key."""
        return f"{self.base}key:{appid}:{key}"

    def room(self, appid: str, targets: str) -> str:
        """Who waits for the same `targets`, joined by |."""
        return f"{self.base}room:{appid}:{targets}"

    def rooms_of(self, appid: str) -> str:
        """The rooms of one account."""
        return f"{self.base}rooms:{appid}"

    def given(self, appid: str, kf_account: str) -> str:
        """Ids whose session with this agent no reading can have seen."""
        return f"{self.base}given:{appid}:{kf_account}"

    def account(self, appid: str) -> str:
        """What is known of an account and its agents."""
        return f"{self.base}account:{appid}"

    def stepped_back(self, worker: str) -> str:
        """What one worker alone cannot do now."""
        return f"{self.base}stepped_back:{worker}"

    def wanted(self, appid: str) -> str:
        """Somebody asked for a reading of who is online."""
        return f"{self.base}wanted:{appid}"

    def token(self, appid: str) -> str:
        """The account's shared access token."""
        return f"{self.base}token:{appid}"


def details(status: record.Status) -> tuple[str, ...]:
    """What the indexes of `status` are told apart by."""
    waits = tuple(reason for reason in record.Reason if reason in record.WAITS)
    match status:
        case record.Status.QUEUED:
            return tuple(request.Lane)
        case record.Status.WAITING:
            return waits
        case record.Status.FAILED:
            return tuple(reason for reason in record.Reason if reason not in waits)
        case record.Status.EXPIRED | record.Status.CANCELLED:
            return ("", *waits, record.Reason.UNCONFIRMED)
        case _:
            return ("",)
