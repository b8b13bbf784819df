"""Makes request ids: whoever submits names the request, so that a submit can be sent again."""

from __future__ import annotations

import secrets
import time

#: The digits of an id, in their order; and, for each byte, the digit that a random one stands for.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT_OF_BYTE = bytes(ord(_DIGITS[byte % 32]) for byte in range(256))
#: Half of an id is its time, the other half random.
_HALF_ID = 10


def new_id() -> str:
    """A request id: 20 characters that sort by time, 50 bits of them random."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """So many ids of one moment, ascending: what is written together is served in its order."""
    quarters = time.time_ns() // 250_000  # of a millisecond
    moment = "".join(_DIGITS[quarters >> bits & 31] for bits in range(45, -1, -5))
    chances = secrets.token_bytes(_HALF_ID * count).translate(_DIGIT_OF_BYTE).decode()
    return sorted(moment + chances[at : at + _HALF_ID] for at in range(0, len(chances), _HALF_ID))
