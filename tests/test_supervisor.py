"""Tasks that come back, and health that says so."""

import pytest
import trio

from proctor.supervisor import Supervisor


class Task:
    """Fails after each of these many seconds in turn, then runs for ever."""

    def __init__(self, *seconds: float, error: Exception | None = None) -> None:
        self.seconds = list(seconds)
        self.error = error
        self.starts: list[float] = []

    async def run(self) -> None:
        self.starts.append(trio.current_time())
        if not self.seconds:
            await trio.sleep_forever()
        await trio.sleep(self.seconds.pop(0))
        if self.error is not None:
            raise self.error

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


async def test_a_task_that_runs_is_no_failure(supervisor, nursery, autojump_clock):
    nursery.start_soon(supervisor.run, "task", Task().run)
    await trio.sleep(100)
    assert supervisor.failures == {}


async def test_a_task_that_fails_is_seen_until_it_has_run_for_a_second_again(
    supervisor, nursery, autojump_clock
):
    nursery.start_soon(supervisor.run, "task", Task(5, error=ValueError("why")).run)
    nursery.start_soon(supervisor.run, "other", Task().run)
    await trio.sleep(5.1)
    assert supervisor.failures == {"task": "ValueError: why"}
    await trio.sleep(1.3)  # 0.5 s of pause and 0.9 s of running
    assert supervisor.failures == {"task": "ValueError: why"}
    await trio.sleep(0.2)
    assert supervisor.failures == {}


async def test_a_task_that_keeps_failing_stays_seen_and_is_started_less_often(
    supervisor, nursery, autojump_clock
):
    task = Task(*[0.5] * 12, error=ValueError("why"))
    nursery.start_soon(supervisor.run, "task", task.run)
    for _ in range(100):
        await trio.sleep(1)
        assert supervisor.failures == {"task": "ValueError: why"}
    await trio.sleep(300)
    assert task.pauses == [pytest.approx(0.5 + pause) for pause in (0.5, 1, 2, 4, 8, 16, *[30] * 6)]
    assert supervisor.failures == {}


async def test_a_task_that_ran_well_for_long_starts_again_at_once(supervisor, nursery, autojump_clock):
    task = Task(0, 0, 0, 61, 0, error=ValueError("why"))
    nursery.start_soon(supervisor.run, "task", task.run)
    await trio.sleep(100)
    assert task.pauses == [pytest.approx(pause) for pause in (0.5, 1, 2, 61.5, 1)]


async def test_a_task_that_returns_is_down_too(supervisor, nursery, autojump_clock):
    nursery.start_soon(supervisor.run, "task", Task(1).run)
    await trio.sleep(1.1)
    assert supervisor.failures == {"task": "returned"}


async def test_a_failure_inside_nurseries_is_named_itself(supervisor, nursery, autojump_clock):
    """The text of a group only says how many errors there are."""

    async def fail(error: Exception) -> None:
        raise error

    async def nested() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(fail, OSError("disk"))
            async with trio.open_nursery() as inner:
                inner.start_soon(fail, KeyError("x"))

    nursery.start_soon(supervisor.run, "task", nested)
    await trio.sleep(0.1)
    assert sorted(supervisor.failures["task"].split("; ")) == ["KeyError: 'x'", "OSError: disk"]


async def test_cancelling_ends_it_wherever_it_is(supervisor, autojump_clock):
    """While the task runs, and while it pauses."""
    for seconds in (0.2, 5):
        with trio.move_on_after(1) as scope:
            await supervisor.run("task", Task(seconds, error=ValueError()).run)
        assert scope.cancelled_caught
