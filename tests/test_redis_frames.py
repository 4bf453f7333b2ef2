"""The Redis frame store: its keys, its processes, and its faults."""

import time
import traceback

import pytest
import redis
import trio

from proctor.errors import Misconfigured, Unavailable
from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage import redis_append, redis_frames
from proctor.storage.frames import MEMORY_SECONDS, Outcome, PartlyStored
from proctor.storage.redis_append import Appender
from proctor.storage.redis_frames import open_redis_frames
from tests.fixtures.redis import running_redis
from tests.test_frame_stores import T0, appended, ids, message, saved

RETENTION_SECONDS = 100
PROLONG_SECONDS = 300
"""After so long, a write prolongs also what outlives the frames by a day."""
QUICK_SECONDS = 1.0
"""Answer time allowed where Redis is made to hang."""


def settings_for(url: str, retention_seconds: int = RETENTION_SECONDS) -> Settings:
    settings = Settings(_env_file=None, redis_url=url)
    return settings.model_copy(update={"frame_buffer_retention_seconds": retention_seconds})


@pytest.fixture
def client(redis_url, shared_redis):
    with shared_redis.client() as looking:
        yield looking


@pytest.fixture
async def store(redis_url):
    async with open_redis_frames(settings_for(redis_url)) as opened:
        yield opened


async def test_frames_are_under_the_documented_keys_as_long_as_documented(store, client):
    """Scores are event time in seconds, exact to the millisecond."""
    await store.append([message("exam", T0 + 123, T0 + 456, seq=7), message("exam", seq=1)])
    await saved(store, b"state")
    assert (await store.take_state("exam", 9)).token == 2
    await store.seal("exam")
    await store.claim("turn", 5)
    assert client.get(f"frame_meta:exam:{T0 + 123}-0") == b'{"t":%d,"frame_id":"%d-0"}' % (T0 + 123, T0 + 123)
    assert client.zrange("frames_meta:exam", 0, -1, withscores=True) == [
        (b"%d-0" % (T0 + 123), (T0 + 123) / 1000),
        (b"%d-1" % (T0 + 456), (T0 + 456) / 1000),
    ]
    ledger = client.hgetall("frame_ledger:exam")
    assert abs(int(ledger.pop(b"kept")) - time.time()) < 60
    assert ledger == {
        b"count": b"2",
        b"last": b"1",
        b"beyond": b"1",
        b"7": b"8 bytes.",
    }
    assert client.get("frame_digests:exam") == b"8 bytes."
    lives = {key.decode(): client.ttl(key) for key in client.scan_iter()}
    memory = RETENTION_SECONDS + MEMORY_SECONDS
    expected = {
        f"frame_meta:exam:{T0 + 123}-0": RETENTION_SECONDS,
        f"frame_meta:exam:{T0 + 456}-1": RETENTION_SECONDS,
        "frames_meta:exam": RETENTION_SECONDS,
        "frame_ledger:exam": memory,
        "frame_digests:exam": memory,
        "frame_seal:exam": memory,
        "analysis_state:exam": memory,
        "analysis_turn:exam": memory,
        "analysis_lease:exam": 9,
        "claim:turn": 5,
        "frames_epoch": -1,
    }
    assert lives.keys() == expected.keys()
    assert all(expected[key] - 2 <= lives[key] <= expected[key] for key in expected)


async def test_a_write_prolongs_what_outlives_the_frames(store, client):
    await store.append([message("exam", T0, seq=1)])
    for key in ("frames_meta:exam", "frame_ledger:exam", "frame_digests:exam"):
        client.expire(key, 20)
    await store.append([message("exam", T0, seq=2)])
    assert client.ttl("frames_meta:exam") > 90
    client.hincrby("frame_ledger:exam", "kept", -PROLONG_SECONDS)
    await store.append([message("exam", T0, seq=3)])
    assert client.ttl("frame_ledger:exam") > MEMORY_SECONDS
    assert client.ttl("frame_digests:exam") > MEMORY_SECONDS


async def test_clear_leaves_nothing_but_the_seal_and_the_number_of_turns(store, client):
    await store.append([message("exam", *range(T0, T0 + 2500), seq=1)])
    await saved(store, b"state")
    await store.seal("exam")
    await store.clear("exam")
    assert set(client.keys()) == {b"analysis_turn:exam", b"frame_seal:exam", b"frames_epoch"}


async def test_ids_of_expired_frames_leave_the_index_of_a_session_that_goes_on(store, client):
    """Else it would grow for as long as the exam takes. Frames that came late are still there, and stay."""
    now_ms = round(time.time() * 1000)
    await store.append([message("exam", T0 + n) for n in range(100)])
    await store.append([message("exam", now_ms + n) for n in range(100)])
    client.delete(*(f"frame_meta:exam:{T0 + n}-{n}" for n in range(60)))
    await store.append([message("exam", now_ms + n) for n in range(49)])
    assert client.zcard("frames_meta:exam") == 249, "some at a time, not with each commit"
    await store.append([message("exam", now_ms)])
    assert client.zcard("frames_meta:exam") == 190
    assert [frame_id.number for frame_id in ids((await store.read("exam")).frames)][:40] == list(
        range(60, 100)
    )
    client.delete(*(f"frame_meta:exam:{T0 + n}-{n}" for n in range(60, 100)))
    await store.append([message("exam", *range(now_ms, now_ms + 400))])
    assert client.zcard("frames_meta:exam") == 550


async def test_reading_forgets_ids_of_expired_frames(store, client):
    await store.append([message("exam", *range(T0, T0 + 10))])
    client.delete(*(f"frame_meta:exam:{T0 + number}-{number}" for number in range(5)))
    assert len((await store.read("exam", limit=3)).frames) == 3
    assert client.zcard("frames_meta:exam") == 5


async def test_two_processes_number_one_session_together(redis_url):
    """Each number once, seqs and seals known to both, claims taken by one of them."""
    settings = settings_for(redis_url)
    async with open_redis_frames(settings) as one, open_redis_frames(settings) as other:

        async def append(store, offset):
            for turn in range(100):
                await store.append([message("exam", T0 + turn, T0, seq=2 * turn + offset)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, one, 0)
            nursery.start_soon(append, other, 1)
        page = await other.read("exam")
        assert sorted(frame_id.number for frame_id in ids(page.frames)) == list(range(400))
        assert await appended(other, [message("exam", T0, seq=0)]) == [Outcome.DUPLICATE]
        await one.seal("exam")
        assert await appended(other, [message("exam", T0, seq=900)]) == [Outcome.SEALED]
        assert await one.claim("turn", 5) == 0.0
        assert await other.claim("turn", 5) > 4
        assert (await one.take_state("exam", 5)).token == 1
        assert await other.take_state("exam", 5) is None


async def test_an_emptied_redis_has_another_epoch(redis_url, client):
    """Every process notices, with its next commit or with the next client."""
    settings = settings_for(redis_url)
    async with open_redis_frames(settings) as one, open_redis_frames(settings) as other:
        await one.append([message("exam", T0, seq=1)])
        await other.append([message("exam", T0, seq=2)])
        before = one.epoch
        assert other.epoch == before != ""
        client.flushdb()
        await one.append([message("exam", T0, seq=3)])
        point = await other.resume_point("exam")
        assert one.epoch == other.epoch == point.epoch != before
        assert point.last_seq is None


async def test_a_redis_that_forgot_the_script_learns_it_again(store, client):
    await store.append([message("exam", T0)])
    client.script_flush()
    assert await appended(store, [message("exam", T0), message("other", T0)]) == [Outcome.STORED] * 2
    assert len((await store.read("exam")).frames) == 2
    client.config_resetstat()
    await store.append([message("exam", T0)])
    assert "cmdstat_eval" not in client.info("commandstats")


async def test_a_session_that_fails_neither_confirms_nor_loses_another(store, client):
    """Whichever of its keys is at fault, it has written nothing; what is repeated later is stored once."""
    for number, key in enumerate(("frame_ledger", "frames_meta", "frame_digests")):
        broken = f"broken-{number}"
        client.lpush(f"{key}:{broken}", "x")
        commit = [
            message("before", T0 + number),
            message(broken, T0, seq=1),
            message("after", T0, seq=number),
            message(broken, T0, seq=1),
            message(broken, T0, seq=2),
        ]
        with pytest.raises(PartlyStored, match="WRONGTYPE") as caught:
            await store.append(commit)
        outcomes = [receipt and receipt.outcome for receipt in caught.value.receipts]
        assert outcomes == [Outcome.STORED, None, Outcome.STORED, None, None]
        assert not client.keys(f"frame_meta:{broken}:*")
        client.delete(f"{key}:{broken}")
        again = [commit[1], *commit[3:]]
        assert await appended(store, again) == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert (await store.read("before")).stored == (await store.read("after")).stored == 3


async def test_nothing_overtakes_a_refused_part_of_its_session(store, monkeypatch):
    """A large commit goes in parts; from a session's first refused one on, its rest is for trying again."""
    monkeypatch.setattr(redis_append, "SCRIPT_FRAMES", 10)
    run, rounds = Appender._run, []

    def refuse_exam_in_the_second_round(self, places, messages):
        rounds.append(list(places))
        if len(rounds) != 2:
            return run(self, places, messages)
        answers, _ = run(self, {"other": places["other"]}, messages)
        return [-4] * len(places["exam"]) + answers, "no"

    monkeypatch.setattr(Appender, "_run", refuse_exam_in_the_second_round)
    commit = [message(name, *[T0 + seq] * 4, seq=seq) for seq in range(6) for name in ("exam", "other")]
    with pytest.raises(PartlyStored) as caught:
        await store.append(commit)
    assert rounds == [["exam", "other"]] * 2 + [["other"]] * 4
    outcomes = [receipt and receipt.outcome for receipt in caught.value.receipts]
    assert outcomes[::2] == [Outcome.STORED] + [None] * 5
    assert outcomes[1::2] == [Outcome.STORED] * 6
    assert await appended(store, commit[2::2]) == [Outcome.STORED] * 5
    assert ids((await store.read("exam")).frames) == [FrameId(T0 + n // 4, n) for n in range(24)]


async def test_a_commit_of_which_nothing_was_stored_is_unavailable(redis_server):
    """Redis that is out of memory refuses everything, and takes it once there is room."""
    async with open_redis_frames(settings_for(redis_server.url)) as store:
        with redis_server.client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(Unavailable, match=r"(?i)memory"):
                await store.append([message("exam", T0), message("other", T0)])
            client.config_set("maxmemory", 0)
            assert client.keys() == []
        assert await appended(store, [message("exam", T0), message("other", T0)]) == [Outcome.STORED] * 2


async def test_a_stopped_redis_is_unavailable_at_once_and_comes_back(redis_server):
    """Every call says so; with the append-only file nothing is lost, and the same store goes on."""
    async with open_redis_frames(settings_for(redis_server.url)) as store:
        await store.append([message("exam", T0, seq=1)])
        redis_server.stop()
        began = time.monotonic()
        calls = [
            lambda: store.append([message("exam", T0, seq=2)]),
            lambda: store.read("exam"),
            lambda: store.seal("exam"),
            lambda: store.clear("exam"),
            lambda: store.take_state("exam", 1),
            lambda: store.save_state("exam", b"", 1),
            lambda: store.give_back("exam", 1),
            lambda: store.load_state("exam"),
            lambda: store.claim("turn", 1),
            store.ping,
        ]
        for call in calls:
            with pytest.raises(Unavailable) as caught:
                await call()
            assert isinstance(caught.value.__cause__, redis.RedisError)
        assert time.monotonic() - began < redis_frames.ANSWER_SECONDS
        redis_server.start()
        assert await appended(store, [message("exam", T0, seq=1)]) == [Outcome.DUPLICATE]
        assert await appended(store, [message("exam", T0, seq=2)]) == [Outcome.STORED]


async def test_a_restart_between_two_calls_is_not_noticed(redis_server):
    """Connections of the pool that died with the old server are replaced before they are used."""
    async with open_redis_frames(settings_for(redis_server.url)) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(redis_frames.CONNECTIONS):
                nursery.start_soon(store.ping)
        redis_server.kill()
        redis_server.start()
        async with trio.open_nursery() as nursery:
            for number in range(redis_frames.CONNECTIONS):
                nursery.start_soon(store.append, [message("exam", T0, seq=number)])
        assert (await store.read("exam")).stored == redis_frames.CONNECTIONS


@pytest.mark.slow
async def test_a_hanging_redis_is_unavailable_in_time_and_comes_back(redis_server):
    """What was under way when it hung may have been stored: once, if it had a seq."""
    settings = settings_for(redis_server.url)
    async with open_redis_frames(settings, answer_seconds=QUICK_SECONDS) as store:
        await store.append([message("exam", T0, seq=1)])
        redis_server.pause()
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"(?i)timeout"):
            await store.append([message("exam", T0, seq=2)])
        assert time.monotonic() - began < 3 * QUICK_SECONDS
        redis_server.resume()
        (outcome,) = await appended(store, [message("exam", T0, seq=2)])
        assert outcome in (Outcome.STORED, Outcome.DUPLICATE)
        assert (await store.read("exam")).stored == 2


def _later(call):
    time.sleep(0.3)
    call()


async def _cancel_soon(scope):
    await trio.sleep(0.05)
    scope.cancel()


@pytest.mark.slow
async def test_cancelling_lets_go_of_a_read_at_once_and_of_a_write_in_time(redis_server):
    """A server has to stop in time, also where Redis hangs."""
    async with open_redis_frames(settings_for(redis_server.url)) as store:
        redis_server.pause()
        began = time.monotonic()
        with trio.move_on_after(0.05) as scope:
            await store.read("exam")
        assert scope.cancelled_caught
        assert time.monotonic() - began < QUICK_SECONDS
        with trio.move_on_after(0.05) as scope:
            await store.append([message("exam", T0)])
        assert scope.cancelled_caught
        assert QUICK_SECONDS < time.monotonic() - began < 3 * QUICK_SECONDS
        redis_server.resume()


async def test_a_cancelled_write_that_happens_is_known_to_have_happened(redis_server):
    """Else a turn that was taken is not given back."""
    async with open_redis_frames(settings_for(redis_server.url)) as store, trio.open_nursery() as nursery:
        redis_server.pause()
        with trio.CancelScope() as scope:
            nursery.start_soon(trio.to_thread.run_sync, _later, redis_server.resume)
            nursery.start_soon(_cancel_soon, scope)
            turn = await store.take_state("exam", 5)
            assert turn is not None
            assert scope.cancel_called


async def test_a_redis_that_is_not_there_is_unavailable_from_the_start(tmp_path):
    socket = tmp_path / "none.sock"
    with pytest.raises(Unavailable):
        async with open_redis_frames(settings_for(f"unix://{socket}")):
            pass


@pytest.mark.parametrize(
    ("options", "durability"),
    [
        ([], "volatile"),
        (["--appendonly", "yes"], "process"),
        (["--appendonly", "yes", "--appendfsync", "no"], "process"),
        (["--appendonly", "yes", "--appendfsync", "always"], "power"),
        (["--appendonly", "yes", "--rename-command", "CONFIG", ""], "process"),
        (["--appendonly", "yes", "--rename-command", "INFO", ""], "volatile"),
        (
            ["--appendonly", "yes", "--maxmemory", "1gb", "--maxmemory-policy", "volatile-lru"],
            "volatile",
        ),
        (["--appendonly", "yes", "--maxmemory", "1gb", "--maxmemory-policy", "noeviction"], "process"),
    ],
)
async def test_durability_is_what_redis_can_vouch_for(tmp_path, options, durability):
    """One that may evict frames keeps nothing, whatever it writes to disk; nor does one that will not say."""
    with running_redis(tmp_path, *options) as server:
        async with open_redis_frames(settings_for(server.url)) as store:
            assert store.durability == durability


async def test_durability_follows_the_server(redis_server):
    async with open_redis_frames(settings_for(redis_server.url)) as store:
        assert store.durability == "process"
        with redis_server.client() as client:
            client.config_set("appendfsync", "always")
        await store.ping()
        assert store.durability == "power"


@pytest.mark.parametrize(
    "url", ["redis://:hunter2@127.0.0.1:{port}/0", "redis://someone:hunter2@127.0.0.1:{port}/0"]
)
async def test_refused_credentials_are_a_misconfiguration_that_does_not_quote_them(tmp_path, url):
    with running_redis(tmp_path) as server:
        with server.client() as client:
            client.config_set("requirepass", "correct")
        with pytest.raises(Misconfigured, match="credentials") as caught:
            async with open_redis_frames(settings_for(url.format(port=server.port))):
                pass
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(Misconfigured, match="credentials"):
            async with open_redis_frames(settings_for(server.url)):
                pass


@pytest.mark.parametrize(
    "url", ["mysql://:hunter2@host/0", "redis://host:hunter2", "hunter2", "redis://[hunter2"]
)
async def test_a_url_that_is_none_is_a_misconfiguration_that_does_not_quote_it(url):
    with pytest.raises(Misconfigured, match="not a Redis URL") as caught:
        async with open_redis_frames(settings_for(url)):
            pass
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    assert caught.value.field == "redis_url"


@pytest.mark.no_cover
@pytest.mark.slow
async def test_the_largest_group_commit_fits(store):
    """As many messages as a commit may have, of as many frames as a message may have."""
    commit = [message("exam", *[T0 + number] * 500, seq=number) for number in range(500)]
    assert await appended(store, commit) == [Outcome.STORED] * 500
    assert (await store.read("exam", limit=1)).stored == 250_000


async def test_a_cluster_is_refused_at_the_start(tmp_path):
    """Before anything is written that its other nodes would not have."""
    with running_redis(tmp_path, "--cluster-enabled", "yes") as server:
        with pytest.raises(Misconfigured, match="Cluster") as caught:
            async with open_redis_frames(settings_for(server.url)):
                pass
        assert caught.value.field == "redis_url"
