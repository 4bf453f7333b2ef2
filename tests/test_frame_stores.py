"""What every frame store promises, held against each of them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
import trio
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage.frames import (
    FrameMessage,
    FramePage,
    FrameStore,
    Outcome,
    Receipt,
    UnnumberedFrame,
    open_frame_store,
)

T0 = 1_767_600_000_000
STORED, DUPLICATE, CONFLICT, SEALED = Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.SEALED


async def appended(store: FrameStore, messages: list[FrameMessage]) -> list[Outcome]:
    """Store the messages; returns what became of them."""
    return [receipt.outcome for receipt in await store.append(messages)]


def message(
    session_id: str, *times_ms: int, seq: int | None = None, digest: bytes = b"8 bytes."
) -> FrameMessage:
    frames = tuple(UnnumberedFrame(time_ms, b'{"t":%d,"frame_id":"' % time_ms) for time_ms in times_ms)
    return FrameMessage(session_id, frames, seq, digest if seq is not None else b"")


def ids(frames: list[bytes]) -> list[FrameId]:
    return [FrameId.parse(json.loads(frame)["frame_id"]) for frame in frames]


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path) -> Settings:
    """Settings of one store or the other, empty."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    return Settings(_env_file=None, redis_url=url, frame_store_path=tmp_path / "frames.sqlite3")


@pytest.fixture
async def store(settings: Settings):
    async with open_frame_store(settings) as opened:
        yield opened


async def saved(store: FrameStore, state: bytes, session_id: str = "exam") -> None:
    turn = await store.take_state(session_id, 5)
    assert turn is not None
    assert await store.save_state(session_id, state, turn.token)


async def test_frames_are_numbered_as_they_arrive_and_read_in_time_order(store):
    """Within a millisecond they are in order of arrival, which text order of the ids is not."""
    times = [T0 + 3, T0, *[T0 + 1] * 12, T0 + 2]
    assert await appended(store, [message("exam", time_ms) for time_ms in times]) == [STORED] * len(times)
    page = await store.read("exam")
    assert ids(page.frames) == sorted(FrameId(time_ms, number) for number, time_ms in enumerate(times))
    assert page.stored == len(times)


async def test_a_stored_frame_is_its_head_with_the_id(store):
    """Whatever bytes it is made of."""
    head = '{"note":"ünïcode \\u0000 ✓","n":1e5,"frame_id":"'.encode()
    await store.append([FrameMessage("exam", (UnnumberedFrame(T0, head),))])
    assert (await store.read("exam")).frames == [head + b'%d-0"}' % T0]


async def test_an_unknown_session_reads_as_empty(store):
    assert await store.read("nobody") == FramePage([], 0)
    assert await store.load_state("nobody") is None


async def test_an_empty_commit_is_no_trouble(store):
    assert await store.append([]) == []


async def test_a_message_without_frames_still_has_its_seq(store):
    assert await appended(store, [message("exam", seq=1)]) == [STORED]
    assert await appended(store, [message("exam", seq=1)]) == [DUPLICATE]
    assert await store.read("exam") == FramePage([], 0)


async def test_reading_goes_on_after_a_frame(store):
    """From anywhere, in any steps: also within a millisecond, and after an id that is not there."""
    times = [T0 + number // 7 for number in range(50)]
    await store.append([message("exam", *times)])
    everything = (await store.read("exam")).frames
    for place, frame_id in enumerate(ids(everything)):
        assert (await store.read("exam", frame_id)).frames == everything[place + 1 :]
        assert (await store.read("exam", frame_id, 5)).frames == everything[place + 1 :][:5]
    assert (await store.read("exam", FrameId(T0, 99), 1)).frames == everything[7:8]
    assert (await store.read("exam", FrameId(T0 - 1, 99))).frames == everything
    assert (await store.read("exam", limit=0)).frames == []


async def test_reading_stops_once_it_has_so_many_bytes(store):
    """It has one frame at least, so that who reads on comes to an end."""
    await store.append([message("exam", *range(T0, T0 + 250))])
    everything = (await store.read("exam")).frames
    size = len(everything[0])
    assert await store.read("exam", limit_bytes=1) == FramePage(everything[:1], 250, more=True)
    assert await store.read("exam", limit_bytes=3 * size - 1) == FramePage(everything[:3], 250, more=True)
    assert await store.read("exam", None, 2, 3 * size) == FramePage(everything[:2], 250, more=True)
    assert await store.read("exam", None, 251, 260 * size) == FramePage(everything, 250)


@pytest.mark.no_cover
@pytest.mark.slow
async def test_a_long_session_reads_whole_and_in_pages(store):
    """100,000 frames in disorder, thousands of them in one millisecond, which no page may cut or repeat."""
    times = [T0 + (number * 7919 % 100_000 if number % 3 else 50_000) for number in range(100_000)]
    for start in range(0, len(times), 5000):
        await store.append([message("exam", *times[start : start + 5000])])
    page = await store.read("exam")
    expected = sorted(FrameId(time_ms, number) for number, time_ms in enumerate(times))
    assert ids(page.frames) == expected
    assert page.stored == len(times)
    paged: list[bytes] = []
    after = None
    while frames := (await store.read("exam", after, 30_000)).frames:
        paged += frames
        (after,) = ids(frames[-1:])
    assert paged == page.frames


async def test_large_frames_are_stored_whole(store):
    """A mebibyte each, many times what a message may have."""
    heads = [b'{"n":"%b","frame_id":"' % (bytes([letter]) * 2**20) for letter in b"abc"]
    await store.append([FrameMessage("exam", (UnnumberedFrame(T0, head),)) for head in heads])
    frames = (await store.read("exam")).frames
    assert frames == [head + b'%d-%d"}' % (T0, number) for number, head in enumerate(heads)]


async def test_a_seq_is_stored_once(store):
    """Within a commit, after it, and in any order; a message without one is stored as often as it comes."""
    outcomes = await appended(
        store,
        [message("exam", T0, seq=1), message("exam", T0, seq=1), message("exam", T0), message("exam", T0)],
    )
    assert outcomes == [STORED, DUPLICATE, STORED, STORED]
    later = [message("exam", T0, seq=5), message("exam", T0, seq=3), message("exam", T0, seq=5)]
    again = [message("exam", T0, seq=1), *later]
    assert await appended(store, again) == [DUPLICATE, STORED, STORED, DUPLICATE]
    assert len((await store.read("exam")).frames) == 5


async def test_a_receipt_has_the_number_of_a_messages_first_frame(store):
    """Sessions are numbered each for itself, and what was not stored takes no number."""
    commit = [
        message("exam", T0, T0 + 1, seq=1),
        message("other", T0),
        message("exam", T0, seq=1),
        message("exam", T0 + 2),
    ]
    assert await store.append(commit) == [
        Receipt(STORED, 0),
        Receipt(STORED, 0),
        Receipt(DUPLICATE),
        Receipt(STORED, 2),
    ]
    assert await store.append([message("exam", T0)]) == [Receipt(STORED, 3)]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("seqs", "last"),
    [
        ([], None),
        ([1, 2, 3], 3),
        ([0, 1, 2], 2),
        ([0], None),
        ([2, 3], None),
        ([3, 2, 1], 3),
        ([1, 2, 4, 6], 2),
        ([1, 4, 3, 6, 2], 4),
        ([2, 2, 1, 1], 2),
        ([2**53 - 1, 1], 1),
    ],
)
async def test_a_client_goes_on_after_what_is_stored_without_a_gap(store, seqs, last, together):
    commit = [message("exam", T0, seq=seq) for seq in seqs]
    for part in [commit] if together else [[one] for one in commit]:
        await store.append(part)
    assert (await store.resume_point("exam")).last_seq == last
    await store.seal("exam")
    await store.clear("exam")
    assert (await store.resume_point("exam")).last_seq is None


async def test_a_gap_that_closes_behind_very_many_messages_holds_up_nobody(store):
    """A client may number as it likes; how far its run reaches then is known within a few commits."""
    most = 9_001
    for start in range(2, most, 1000):
        await store.append([message("exam", seq=seq) for seq in range(start, start + 1000)])
    assert (await store.resume_point("exam")).last_seq is None
    commit = [message("before", T0), message("exam", T0, seq=1), message("after", T0)]
    assert await appended(store, commit) == [STORED] * 3
    for _ in range(4):
        again = [message("exam", seq=seq) for seq in range(1, most, 500)]
        assert await appended(store, again) == [DUPLICATE] * len(again)
    assert (await store.resume_point("exam")).last_seq == most
    assert await appended(store, [message("exam", seq=most + 1)]) == [STORED]
    assert (await store.resume_point("exam")).last_seq == most + 1
    for session_id in ("before", "exam", "after"):
        assert (await store.read(session_id)).stored == 1


async def test_any_number_of_messages_without_frames_is_one_commit(store):
    """Also where no number follows another."""
    assert await appended(store, [message("exam", seq=2 * n) for n in range(1, 5000)]) == [STORED] * 4999


async def test_the_epoch_stays_as_long_as_the_content(settings):
    async with open_frame_store(settings) as store:
        epoch = (await store.resume_point("exam")).epoch
        await store.append([message("exam", T0)])
        assert epoch == store.epoch != ""
    async with open_frame_store(settings) as store:
        await store.append([message("exam", T0)])
        assert store.epoch == epoch


async def test_the_first_payload_of_a_seq_stands(store):
    other = b"another."
    both = [message("exam", T0, seq=1), message("exam", T0 + 1, seq=1, digest=other)]
    assert await appended(store, both) == [STORED, CONFLICT]
    assert await appended(store, [message("exam", T0 + 1, seq=1, digest=other)]) == [CONFLICT]
    assert ids((await store.read("exam")).frames) == [FrameId(T0, 0)]


@pytest.mark.parametrize("seq", [0, 2**53 - 1])
async def test_seqs_go_from_0_to_the_largest_that_javascript_counts(store, seq):
    assert await appended(store, [message("exam", T0, seq=seq)]) == [STORED]
    assert await appended(store, [message("exam", T0, seq=seq)]) == [DUPLICATE]


async def test_sessions_do_not_share_seqs_numbers_or_seals(store):
    """Also where one's id begins with the other's."""
    await store.seal("exam")
    outcomes = await appended(
        store, [message("exam", T0, seq=1), message("exam-0", T0, seq=1), message("exam-00", T0, seq=1)]
    )
    assert outcomes == [SEALED, STORED, STORED]
    await store.clear("exam-0")
    assert ids((await store.read("exam-00")).frames) == [FrameId(T0, 0)]
    assert (await store.read("exam-0")).frames == []


async def test_a_batch_is_numbered_without_a_gap_between(store):
    await store.append([message("exam", T0, T0), message("exam", T0, seq=1), message("exam", T0, T0)])
    assert ids((await store.read("exam")).frames) == [FrameId(T0, number) for number in range(5)]


async def test_a_sealed_session_takes_nothing_more(store):
    """New or repeated, also after it was cleared; and what it has may still be read."""
    await store.append([message("exam", T0, seq=1)])
    assert not (await store.resume_point("exam")).sealed
    await store.seal("exam")
    await store.seal("exam")
    assert (await store.resume_point("exam")).sealed
    assert not (await store.resume_point("other")).sealed
    late = [message("exam", T0, seq=1), message("exam", T0, seq=2), message("exam", T0)]
    assert await appended(store, late) == [SEALED] * 3
    assert len((await store.read("exam")).frames) == 1
    await store.clear("exam")
    assert await appended(store, late) == [SEALED] * 3
    assert await store.read("exam") == FramePage([], 0)


async def test_a_cleared_session_is_as_if_it_had_never_been(store):
    await store.append([message("exam", *range(T0, T0 + 2500), seq=1)])
    await saved(store, b"state")
    await store.clear("exam")
    await store.clear("exam")
    assert await store.read("exam") == FramePage([], 0)
    assert await store.load_state("exam") is None
    assert await appended(store, [message("exam", T0, seq=1)]) == [STORED]
    assert ids((await store.read("exam")).frames) == [FrameId(T0, 0)]


async def test_clearing_an_unknown_session_is_no_trouble(store):
    await store.clear("nobody")


async def test_the_last_state_is_kept(store):
    state = bytes(range(256)) * 1024
    await saved(store, b"earlier")
    await saved(store, state)
    assert await store.load_state("exam") == state
    assert await store.load_state("other") is None


async def test_one_at_a_time_has_the_state(store):
    """Until it is saved or given back; it may be held on to meanwhile. Nobody is kept from reading it."""
    turns = [turn for turn in [await store.take_state("exam", 5) for _ in range(3)] if turn is not None]
    assert [turn.state for turn in turns] == [None]
    token = turns[0].token
    assert await store.save_state("exam", b"1", token, keep_seconds=5)
    assert await store.take_state("exam", 5) is None
    assert await store.load_state("exam") == b"1"
    assert await store.save_state("exam", b"2", token)
    second = await store.take_state("exam", 5)
    assert second.state == b"2"
    assert second.token > token
    await store.give_back("exam", token)
    assert await store.take_state("exam", 5) is None
    await store.give_back("exam", second.token)
    third = await store.take_state("exam", 5)
    assert (third.state, third.token > second.token) == (b"2", True)
    assert (await store.take_state("other", 5)).state is None


async def test_who_lost_the_state_saves_nothing(store):
    """It lapsed, or was cleared, while its holder was stopped. Nobody having taken it, it may be late."""
    first = await store.take_state("exam", 0.02)
    await trio.sleep(0.03)
    assert await store.save_state("exam", b"late", first.token, keep_seconds=0.02)
    await trio.sleep(0.03)
    second = await store.take_state("exam", 5)
    assert second.state == b"late"
    assert not await store.save_state("exam", b"stale", first.token)
    assert await store.take_state("exam", 5) is None
    assert await store.save_state("exam", b"fresh", second.token, keep_seconds=5)
    await store.clear("exam")
    assert not await store.save_state("exam", b"stale", second.token)
    assert await store.load_state("exam") is None
    assert (await store.take_state("exam", 5)).token > second.token
    assert not await store.save_state("exam", b"stale", second.token)


async def test_a_holder_may_prolong_its_claim_and_give_it_up(store):
    assert await store.claim("end", 0.1, "a") == 0.0
    assert 0 < await store.claim("end", 5, "b") <= 0.1
    assert await store.claim("end", 5, "a") == 0.0
    assert await store.claim("end", 5, "b") > 4
    assert await store.claim("end", 5) > 4
    assert await store.claim("end", 0, "a") == 0.0
    await trio.sleep(0.005)
    assert await store.claim("end", 5, "b") == 0.0


async def test_a_claim_is_taken_once_until_it_ends(store):
    outcomes: list[float] = []

    async def attempt() -> None:
        outcomes.append(await store.claim("analyze", 0.5))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(attempt)
    assert min(outcomes) == 0.0
    assert all(0 < left <= 0.5 for left in sorted(outcomes)[1:])
    assert await store.claim("another", 0.5) == 0.0
    await trio.sleep(await store.claim("analyze", 0.5) + 0.01)
    assert await store.claim("analyze", 0.5) == 0.0


async def test_tasks_that_append_at_once_share_the_numbers(store):
    """20 tasks on one session: each number once and none left out, each task's own frames in their order."""

    async def append(task: int) -> None:
        for turn in range(10):
            await store.append([message("exam", T0 + task, seq=task * 100 + turn)])

    async with trio.open_nursery() as nursery:
        for task in range(20):
            nursery.start_soon(append, task)
    page = await store.read("exam")
    found = ids(page.frames)
    assert sorted(frame_id.number for frame_id in found) == list(range(200))
    assert page.stored == 200


async def test_a_reader_never_sees_half_a_commit(store):
    """A message's frames appear together, while others are being appended, and `stored` counts them."""
    size = 50
    done = trio.Event()

    async def append() -> None:
        for turn in range(30):
            await store.append([message("exam", *[T0 + turn] * size)])
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append)
        while not done.is_set():
            page = await store.read("exam")
            assert len(page.frames) == page.stored
            assert page.stored % size == 0


async def test_a_cancelled_append_is_whole_or_absent(store):
    for turn in range(20):
        with trio.move_on_after(0.0005 * turn):
            await store.append([message(f"exam-{turn}", *[T0] * 100)])
        assert len((await store.read(f"exam-{turn}")).frames) in (0, 100)


async def test_an_answering_store_says_how_durable_it_is(store):
    await store.ping()
    assert store.durability in ("power", "process", "volatile")


async def test_everything_is_there_after_reopening(settings):
    """Frames, numbers, seqs, seals and states."""
    async with open_frame_store(settings) as store:
        await store.append([message("exam", T0, seq=1), message("sealed", T0)])
        await store.seal("sealed")
        await saved(store, b"state")
    async with open_frame_store(settings) as store:
        outcomes = await appended(
            store, [message("exam", T0, seq=1), message("exam", T0, seq=2), message("sealed", T0)]
        )
        assert outcomes == [DUPLICATE, STORED, SEALED]
        assert ids((await store.read("exam")).frames) == [FrameId(T0, 0), FrameId(T0, 1)]
        assert await store.load_state("exam") == b"state"


@pytest.mark.slow
async def test_frames_expire_by_the_time_of_storing_and_the_rest_stays(settings):
    """Not by event time. Count and seqs go on, and a page is not short for what has expired."""
    async with open_frame_store(settings.model_copy(update={"frame_buffer_retention_seconds": 1})) as store:
        await store.append([message("exam", T0 + 9_000_000, T0 + number, seq=number) for number in range(20)])
        await saved(store, b"state")
        await store.seal("sealed")
        assert len((await store.read("exam")).frames) == 40
        await trio.sleep(1.1)
        assert await store.read("exam") == FramePage([], 40)
        late = [message("exam", T0 + 30, T0 - 30, seq=30), message("exam", T0, seq=5), message("sealed", T0)]
        assert await appended(store, late) == [STORED, DUPLICATE, SEALED]
        page = await store.read("exam", limit=1)
        assert ids(page.frames) == [FrameId(T0 - 30, 41)]
        assert page.stored == 42
        assert await store.load_state("exam") == b"state"


@dataclass
class Model:
    """What a session should look like."""

    frames: list[FrameId] = field(default_factory=list)
    seqs: dict[int, bytes] = field(default_factory=dict)
    sealed: bool = False

    def append(self, sent: FrameMessage) -> Outcome:
        if self.sealed:
            return SEALED
        if sent.seq in self.seqs:
            return DUPLICATE if self.seqs[sent.seq] == sent.digest else CONFLICT
        if sent.seq is not None:
            self.seqs[sent.seq] = sent.digest
        self.frames += (
            FrameId(frame.time_ms, number) for number, frame in enumerate(sent.frames, start=len(self.frames))
        )
        return STORED


SESSIONS = 3
_examples = count()

sent_messages = st.tuples(
    st.integers(0, SESSIONS - 1),
    st.lists(st.integers(T0, T0 + 5), max_size=4),
    st.none() | st.integers(0, 6),
    st.sampled_from([b"payload1", b"payload2"]),
)
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(sent_messages, max_size=8)),
    st.tuples(st.just("seal"), st.integers(0, SESSIONS - 1)),
    st.tuples(st.just("clear"), st.integers(0, SESSIONS - 1)),
    st.tuples(
        st.just("read"),
        st.tuples(
            st.integers(0, SESSIONS - 1),
            st.none() | st.builds(FrameId, st.integers(T0 - 1, T0 + 6), st.integers(0, 20)),
            st.none() | st.integers(0, 10),
        ),
    ),
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, max_size=25))
async def test_any_history_gives_what_the_model_gives(settings, history):
    """Outcomes and reads, for any commits, seals and clears of a few sessions."""
    prefix = f"history-{next(_examples)}"
    models = [Model() for _ in range(SESSIONS)]
    async with open_frame_store(settings) as store:
        for step, argument in history:
            if step == "append":
                sent = [
                    (models[session], message(f"{prefix}-{session}", *times, seq=seq, digest=digest))
                    for session, times, seq, digest in argument
                ]
                outcomes = await appended(store, [one for _, one in sent])
                assert outcomes == [model.append(one) for model, one in sent]
            elif step == "seal":
                models[argument].sealed = True
                await store.seal(f"{prefix}-{argument}")
            elif step == "clear":
                models[argument] = Model(sealed=models[argument].sealed)
                await store.clear(f"{prefix}-{argument}")
            else:
                await check_read(store, prefix, models, *argument)
        for session in range(SESSIONS):
            await check_read(store, prefix, models, session, None, None)


async def check_read(
    store: FrameStore,
    prefix: str,
    models: list[Model],
    session: int,
    after: FrameId | None,
    limit: int | None,
) -> None:
    expected = sorted(models[session].frames)
    if after is not None:
        expected = [frame_id for frame_id in expected if frame_id > after]
    page = await store.read(f"{prefix}-{session}", after, limit)
    assert ids(page.frames) == expected[:limit]
    assert page.stored == len(models[session].frames)


APPENDER = """
import sys, trio
from pathlib import Path
from proctor.settings import Settings
from proctor.storage.frames import open_frame_store
from tests.test_frame_stores import T0, message

async def append_for_ever(redis_url, path):
    settings = Settings(_env_file=None, redis_url=redis_url, frame_store_path=Path(path))
    async with open_frame_store(settings) as store:
        seq = 0
        while True:
            await store.append([message("exam", T0 + seq + n, T0, seq=seq + n) for n in range(5)])
            print(seq + 4, flush=True)
            seq += 5

trio.run(append_for_ever, *sys.argv[1:])
"""


def confirmed_until_killed(settings: Settings, lines: int) -> Iterator[int]:
    """The seqs that a process confirmed before it was killed, in the midst of going on."""
    command = [sys.executable, "-c", APPENDER, settings.redis_url, str(settings.frame_store_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            yield int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        yield from map(int, process.stdout.read().split())


async def check_survival(settings: Settings, confirmed: list[int]) -> None:
    """Whatever was confirmed is stored, every message is whole, and the session can go on."""
    async with open_frame_store(settings) as store:
        page = await store.read("exam")
        numbers = sorted(frame_id.number for frame_id in ids(page.frames))
        assert numbers == list(range(page.stored))
        assert page.stored % 10 == 0
        assert page.stored >= 2 * (max(confirmed) + 1)
        again = [message("exam", T0, seq=seq) for seq in range(max(confirmed) + 1)]
        assert set(await appended(store, again)) == {DUPLICATE}
        assert (await store.read("exam")).stored == page.stored


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 40, 97])
async def test_what_was_confirmed_survives_a_kill_of_the_process(settings, lines):
    confirmed = list(confirmed_until_killed(settings, lines))
    assert len(confirmed) >= lines
    await check_survival(settings, confirmed)


@pytest.mark.slow
async def test_what_was_confirmed_survives_a_kill_of_redis_with_an_append_only_file(redis_server, tmp_path):
    settings = Settings(_env_file=None, redis_url=redis_server.url, frame_store_path=tmp_path / "unused")
    confirmed = list(confirmed_until_killed(settings, 60))
    redis_server.kill()
    redis_server.start()
    await check_survival(settings, confirmed)
