"""Calls that wait for a thread are made in one go; of calls to workers see the tests of dispatch."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
import trio

from proctor.together import THREAD_CALLS, Together, in_threads


class Desk:
    """Calls through one thread, of which the first waits until it is let go."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.threads = in_threads(1)
        self.go = threading.Event()
        self.made: list[str] = []
        self.begun_in: list[int] = []
        self.outcomes: dict[str, object] = {}
        self.scopes: dict[str, trio.CancelScope] = {}
        self._nursery = nursery

    async def have(self, name: str, function: Callable[[], object] | None = None) -> None:
        """Have a call made, and go on once it waits."""
        self._nursery.start_soon(self._make, name, function or partial(self._note, name))
        await trio.testing.wait_all_tasks_blocked()

    async def _make(self, name: str, function: Callable[[], object]) -> None:
        with trio.CancelScope() as self.scopes[name]:
            try:
                self.outcomes[name] = await self.threads.call(function)
            except LookupError as error:
                self.outcomes[name] = str(error)
            finally:
                self.outcomes.setdefault(name, "cancelled")

    def hold(self) -> None:
        self._note("hold")
        self.go.wait(10)

    def fail(self) -> None:
        self._note("fail")
        raise LookupError("nothing there")

    def _note(self, name: str) -> str:
        self.made.append(name)
        self.begun_in.append(threading.get_ident())
        return name


async def until_made(desk: Desk, name: str) -> None:
    with trio.fail_after(5):
        while name not in desk.made:  # noqa: ASYNC110
            await trio.sleep(0.001)


async def test_calls_that_wait_are_made_in_one_go_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them raises it raises alone."""
    trips = []
    run_sync = trio.to_thread.run_sync
    monkeypatch.setattr(trio.to_thread, "run_sync", lambda *a, **b: trips.append(1) or run_sync(*a, **b))
    async with trio.open_nursery() as nursery:
        desk = Desk(nursery)
        await desk.have("hold", desk.hold)
        await desk.have("fail", desk.fail)
        names = [str(number) for number in range(THREAD_CALLS)]
        for name in names:
            await desk.have(name)
        desk.go.set()
    assert desk.made == ["hold", "fail", *names]
    assert desk.outcomes == {"hold": None, "fail": "nothing there"} | {name: name for name in names}
    assert len(trips) == 3


async def test_a_call_that_was_begun_is_waited_for_and_one_that_was_not_is_never_made() -> None:
    """Whoever gave it up may do next what must not come before it."""
    async with trio.open_nursery() as nursery:
        desk = Desk(nursery)
        await desk.have("a")
        blocking = threading.Event()
        await desk.have("hold", partial(blocking.wait, 10))
        await desk.have("first", desk.hold)
        await desk.have("along")
        await desk.have("given up")
        desk.scopes["given up"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        blocking.set()
        await until_made(desk, "hold")
        desk.scopes["along"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert "along" not in desk.outcomes
        desk.go.set()
    assert desk.outcomes["given up"] == desk.outcomes["along"] == "cancelled"
    assert desk.made == ["a", "hold", "along"]


async def test_every_thread_gets_its_share() -> None:
    """Two calls that wait for one another, behind two others, come to two threads."""
    threads, meeting = in_threads(2), threading.Barrier(2, timeout=5)

    async def both(together: Together) -> None:
        await together.call(meeting.wait)
        await together.call(meeting.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(both, threads)
        nursery.start_soon(both, threads)
