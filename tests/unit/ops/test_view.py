import io

import rich.console

from ops.demonstration import course, plan, simulated, view
from worker.contract import record, request

FAN = plan.Fan(
    kind=plan.Kind.LATE,
    openid="fan_1",
    kf_account="emil@demo",
    arrives_at=0,
    lane=request.Lane.BATCH,
)


def picture(elapsed: float, over: int) -> course.Picture:
    counts = dict.fromkeys(record.Status, 0)
    counts |= {record.Status.WAITING: 2 - over, record.Status.CREATED: over}
    return course.Picture(
        elapsed=elapsed,
        fans=2,
        arrived=2,
        counts=counts,
        agents=(
            simulated.Agent(kf_account="anna@demo", online=True, serving=over),
            simulated.Agent(kf_account="emil@demo", online=False, serving=0),
        ),
        newest=(
            course.Event(
                at=1.5,
                fan=FAN,
                status=record.Status.WAITING,
                reason=record.Reason.AGENT_OFFLINE,
            ),
        ),
    )


def test_a_terminal_sees_agents_states_and_the_newest_events() -> None:
    """All that a demo has to show, in one picture."""
    console = rich.console.Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(view.scene(picture(3.0, over=1)))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert "3.0 s 2 of 2 fans have come, 1 have their outcome" in lines
    assert "anna@demo online 1 queued 0" in lines
    assert "emil@demo away 0 calling 0" in lines
    assert "1.5 s fan_1 agent comes late waiting (agent_offline)" in lines


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end() -> None:
    """Four pictures a second would drown it."""
    written = io.StringIO()
    lines = view.Lines(rich.console.Console(file=written, width=100))
    for quarter in range(33):
        lines.show(picture(quarter / 4, over=0))
    lines.show(picture(8.25, over=2))
    told = written.getvalue().splitlines()
    assert [line.split()[0] for line in told] == ["0", "4", "8", "8"]
    assert " ".join(told[-1].split()) == "8 s 2/2 fans created 2 online: anna@demo"
