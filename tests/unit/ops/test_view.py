import dataclasses
import io

import pytest
import rich.console

from ops.demonstration import cast, course, kinds, pictures, plan, view
from worker.contract import record, request

FAN = plan.Fan(
    kind=kinds.Kind.LADDER,
    openid="fan_001_01ab",
    kf_account="emil@demo",
    arrives_at=0,
    lane=request.Lane.BATCH,
)


def agent(kf_account: str, **about: object) -> pictures.Agent:
    known = {"is_online": True, "is_paused": False, "serving": 0, "room": None, "waiting": 0}
    return pictures.Agent(kf_account=kf_account, **(known | about))  # type: ignore[arg-type]


AGENTS = (
    agent("anna@demo", serving=12),
    agent("emil@demo", is_online=False, waiting=2),
    agent("gina@demo", serving=2, room=0, waiting=3),
    agent("hugo@demo", is_paused=True, waiting=1),
)


def picture(elapsed: float, over: int = 0, *, queue: int = 0, events: int = 1) -> pictures.Picture:
    counts: dict[record.Status, dict[str, int]] = {status: {} for status in record.Status}
    if over < 8:
        waiting = {"agent_offline": 2, "agent_full": 3, "paused": 1}
        counts[record.Status.WAITING] = waiting
    counts[record.Status.CREATED] = {"": over}
    return pictures.Picture(
        elapsed=elapsed,
        fans=6,
        arrived=6,
        everybody=8,
        queue=queue,
        counts=counts,
        agents=AGENTS if over < 8 else AGENTS[:1],
        newest=(
            pictures.Event(
                at=1.5,
                fan=FAN,
                status=record.Status.WAITING,
                reason=record.Reason.AGENT_OFFLINE,
            ),
        )
        * events,
    )


def drawn(seen: pictures.Picture) -> list[str]:
    console = rich.console.Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(view.scene(seen))
    return captured.get().splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "3.0 s 6/6 fans have come, 1 have their outcome, 2 wait in WeChat's queue",
        "anna@demo online 12 ∞ 0 queued 0",
        "emil@demo away 0 2 calling 0",
        "gina@demo online 2 0 3 waiting (agent_offline) 2",
        "hugo@demo paused 0 1 waiting (agent_full) 3",
        "waiting (paused) 1",
        "waiting (transient) 0",
        "1.5 fan_001_01ab first choice wrong, second offline waiting (agent_offline)",
    ],
)
def test_a_terminal_sees_agents_states_and_the_newest_events(line: str) -> None:
    """All that a demo has to show, in one picture: who has room, and who waits for what."""
    assert line in [" ".join(each.split()) for each in drawn(picture(3.0, over=1, queue=2))]


def test_a_picture_fits_a_terminal_of_80_columns_and_24_lines() -> None:
    """A live picture that is larger is cut off at its end."""
    seen = picture(30.0, events=course.NEWEST)
    agents = [agent(name, waiting=10) for name in cast.ONLINE]
    lines = drawn(dataclasses.replace(seen, agents=tuple(agents)))
    assert len(lines) < 24
    assert not any("…" in line for line in lines)


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end() -> None:
    """Four pictures a second would drown it; what follows the end says nothing new."""
    written = io.StringIO()
    lines = view.Lines(rich.console.Console(file=written, width=100))
    for quarter in range(33):
        lines.show(picture(quarter / 4, queue=2))
    lines.show(picture(8.25, over=8))
    lines.show(picture(8.5, over=8))
    told = [" ".join(line.split()) for line in written.getvalue().splitlines()]
    assert [line.split()[0] for line in told] == ["0", "4", "8", "8"]
    assert told[0] == (
        "0 s 6/6 fans waiting 6 (agent_offline 2, agent_full 3, paused 1)"
        " for emil@demo (away) 2, gina@demo (full) 3, hugo@demo (paused) 1 in WeChat's queue 2"
    )
    assert told[-1] == "8 s 6/6 fans created 8"
