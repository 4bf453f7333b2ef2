"""What processes tell each other over Redis, and what they do without it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import proctor.farewells
from proctor.farewells import Farewells
from proctor.model import ExamSession
from proctor.notices import TAKE_IN_SECONDS, Notices, Told, open_notices
from proctor.replies import Message
from proctor.settings import Settings
from tests.fixtures.redis import RedisServer
from tests.house import house_settings, open_house

pytestmark = pytest.mark.usefixtures("hard_limit")


class Listener:
    """A process that listens, and notes what it is asked for."""

    def __init__(self, notices: Notices, nursery: trio.Nursery, seconds: float = 0.0) -> None:
        self.notices = notices
        self.taken_in: list[str] = []
        self.finished: list[str] = []
        self.told: list[tuple[str, Told]] = []
        self._seconds = seconds
        nursery.start_soon(notices.listen, self)

    async def take_in(self, session_id: str) -> None:
        await trio.sleep(self._seconds)
        self.taken_in.append(session_id)

    def finish(self, session_id: str) -> None:
        self.finished.append(session_id)

    def tell(self, session_id: str, message: Told) -> int:
        self.told.append((session_id, message))
        return 2

    async def hears(self, speaker: Notices) -> None:
        """Wait until what is said reaches it. Nothing else tells when it has subscribed."""
        with trio.fail_after(10):
            while "test" not in self.finished:
                await speaker.ended("test")
                await trio.sleep(0.02)


@pytest.fixture
async def three(redis_url: str) -> AsyncIterator[list[Notices]]:
    settings = Settings(_env_file=None, redis_url=redis_url)
    async with (
        open_notices(settings) as one,
        open_notices(settings) as two,
        open_notices(settings) as three,
    ):
        yield [one, two, three]


async def test_an_end_waits_until_every_process_has_taken_in(three: list[Notices], nursery: trio.Nursery):
    listeners = [Listener(notices, nursery, 0.1 * place) for place, notices in enumerate(three)]
    for listener in listeners:
        await listener.hears(three[0])
    began = trio.current_time()
    await three[0].ending("exam")
    assert [listener.taken_in for listener in listeners] == [["exam"]] * 3
    assert 0.2 <= trio.current_time() - began < TAKE_IN_SECONDS
    await three[1].ended("exam")
    with trio.fail_after(5):
        while not all("exam" in listener.finished for listener in listeners):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_several_ends_at_once_do_not_take_each_others_answers(
    three: list[Notices], nursery: trio.Nursery
):
    listeners = [Listener(notices, nursery, 0.05) for notices in three]
    for listener in listeners:
        await listener.hears(three[0])
    names = {f"exam-{number}" for number in range(20)}
    async with trio.open_nursery() as ends:
        for place, name in enumerate(sorted(names)):
            ends.start_soon(three[place % 3].ending, name)
    assert [set(listener.taken_in) for listener in listeners] == [names] * 3


async def test_the_others_are_told_and_say_how_many_have_heard_it(
    three: list[Notices], nursery: trio.Nursery
):
    listeners = [Listener(notices, nursery) for notices in three]
    for listener in listeners:
        await listener.hears(three[0])
    message = Message("exam", "hello", "2026-01-05T09:00:00.000Z")
    assert await three[0].tell("exam", message) == 4
    assert [listener.told for listener in listeners] == [[], [("exam", message)], [("exam", message)]]


async def test_nobody_waits_long_for_a_process_that_does_not_answer(
    three: list[Notices], nursery: trio.Nursery
):
    stuck = Listener(three[1], nursery, 60)
    await stuck.hears(three[0])
    began = trio.current_time()
    await three[0].ending("exam")
    assert TAKE_IN_SECONDS <= trio.current_time() - began < TAKE_IN_SECONDS + 1


async def test_databases_of_one_redis_are_kept_apart(redis_url: str, nursery: trio.Nursery):
    """Channels belong to the whole server, unlike keys."""
    other_url = f"{redis_url.rpartition('/')[0]}/1"
    async with (
        open_notices(Settings(_env_file=None, redis_url=redis_url)) as ours,
        open_notices(Settings(_env_file=None, redis_url=other_url)) as theirs,
    ):
        listener, foreign = Listener(ours, nursery), Listener(theirs, nursery)
        await listener.hears(ours)
        await foreign.hears(theirs)
        await ours.ending("exam")
        await trio.sleep(0.05)
        assert (listener.taken_in, foreign.taken_in) == (["exam"], [])
        nursery.cancel_scope.cancel()


async def test_without_redis_nobody_waits_and_when_it_is_back_they_hear_again(
    redis_server: RedisServer, nursery: trio.Nursery
):
    settings = Settings(_env_file=None, redis_url=redis_server.url)
    async with open_notices(settings) as one, open_notices(settings) as two:
        listener = Listener(two, nursery)
        await listener.hears(one)
        redis_server.stop()
        began = trio.current_time()
        await one.ending("exam")
        await one.ended("exam")
        assert trio.current_time() - began < 1
        redis_server.start()
        listener.finished.clear()
        await listener.hears(one)
        redis_server.pause()
        began = trio.current_time()
        await one.ending("exam")
        assert trio.current_time() - began < TAKE_IN_SECONDS + 1
        redis_server.resume()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ids_at_once", [1, 3, 200])
async def test_sessions_that_ended_without_a_notice_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids_at_once: int
):
    """Their clients are heard out and let go; those of others stay. Where there are many, they take turns."""

    class Clients:
        """Sessions with clients here, and what is done to them."""

        def __init__(self) -> None:
            self.session_ids = ["over", "ending", "running", "unknown"]
            self.steps: list[tuple[str, str]] = []

        async def stop_intake(self, session_id: str) -> None:
            await trio.lowlevel.checkpoint()
            self.steps.append(("heard", session_id))

        def finish(self, session_id: str) -> None:
            self.session_ids.remove(session_id)
            self.steps.append(("told", session_id))

    monkeypatch.setattr(proctor.farewells, "RECONCILE_SECONDS", 0.02)
    monkeypatch.setattr(proctor.farewells, "_IDS_AT_ONCE", ids_at_once)
    clients = Clients()
    async with open_house(house_settings(tmp_path), finalize=False) as house, trio.open_nursery() as nursery:
        for session_id in ("over", "ending", "running"):
            await house.database.start_session(ExamSession(session_id=session_id, started_ms=1))
        for session_id in ("over", "ending"):
            await house.database.begin_ending(session_id, 2)
        await house.database.mark_ended("over")
        farewells = Farewells(clients, house.ingest, house.database, None)  # type: ignore[arg-type]
        nursery.start_soon(farewells.reconcile)
        with trio.fail_after(5):
            while len(clients.steps) < 4:  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert clients.session_ids == ["running", "unknown"]
    assert sorted(clients.steps) == sorted(
        (step, session_id) for step in ("heard", "told") for session_id in ("ending", "over")
    )
    together = ["heard", "heard", "told", "told"]
    assert [step for step, _ in clients.steps] == (["heard", "told"] * 2 if ids_at_once == 1 else together)
