"""Frames in Redis, shared by any number of processes.

| key | holds | lives |
|---|---|---|
| `frame_meta:{session_id}:{frame_id}` | a frame's JSON | retention |
| `frames_meta:{session_id}` | sorted set of frame ids by event time in seconds | retention |
| `frame_ledger:{session_id}` | how many frames were ever stored, and of which `seq` | memory |
| `frame_digests:{session_id}` | what tells payloads of one `seq` apart | memory |
| `frame_seal:{session_id}` | exists once the session takes no more frames | memory |
| `analysis_state:{session_id}` | what `save_state` kept | memory |
| `analysis_turn:{session_id}` | the token given out last; the state is saved under no other | memory |
| `analysis_lease:{session_id}` | exists while the state is taken | as taken |
| `frames_cleared:{session_id}` | ids of frames that `clear` has yet to delete | retention |
| `claim:{name}` | its holder, while `name` is taken | as claimed |
| `frames_epoch` | names the content of this Redis, so that it shows when it was emptied | ever |

Retention is `frame_buffer_retention_seconds`, memory `MEMORY_SECONDS` more; each from its last write.
What outlives the frames is prolonged every few minutes only.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

import redis
import trio
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from proctor.errors import Misconfigured, Unavailable
from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage.frames import (
    MEMORY_SECONDS,
    FrameMessage,
    FramePage,
    Receipt,
    ResumePoint,
    Turn,
    page_of,
)
from proctor.storage.redis_append import EPOCH_KEY, Appender
from proctor.storage.redis_client import open_redis
from proctor.storage.redis_leases import Leases

CONNECTIONS = 8
"""Calls in flight per process; more of them wait. Each has a thread and a connection."""
ANSWER_SECONDS = 5.0
"""Longest that Redis may keep silent in the middle of a call."""
CANCELLED_SECONDS = 1.0
"""Longest that a cancelled write is waited for, lest a Redis that hangs keep the server from stopping."""
PAGE_FRAMES = 1000
"""Ids that are asked for at once."""
BODIES_AT_ONCE = 100
"""Frames that are asked for at once; they may be as large as messages."""
"""Frames fetched per round trip, so that no read keeps Redis from answering others."""

T = TypeVar("T")


@asynccontextmanager
async def open_redis_frames(
    settings: Settings, *, answer_seconds: float = ANSWER_SECONDS
) -> AsyncIterator["RedisFrames"]:
    """Open the store at `redis_url`, which must answer now; later it may go away and come back.

    Raises:
        Misconfigured: the URL is none, Redis does not take its credentials, or it is part of a cluster.
        Unavailable: Redis does not answer.
    """
    async with open_redis(settings, answer_seconds) as client:
        store = RedisFrames(client, settings.frame_buffer_retention_seconds)
        await store.check()
        yield store


class RedisFrames:
    """The :class:`proctor.storage.frames.FrameStore` on Redis. Get one from `open_redis_frames`.

    Cancellation lets go of a read at once; a write is waited for, so that it does not arrive after what the
    caller does next, unless Redis hangs.
    """

    kind = "redis"

    def __init__(self, client: redis.Redis, retention_seconds: int) -> None:
        self._redis: Any = client
        """Any, because the client types each reply as all that its options could make of it."""
        self._retention = retention_seconds
        self._memory = retention_seconds + MEMORY_SECONDS
        self._limiter = trio.CapacityLimiter(CONNECTIONS)
        self._appender = Appender(client, self._retention, self._memory)
        self._leases = Leases(client, self._memory)
        self._durability = "volatile"

    async def check(self) -> None:
        """Ping, and tell a Redis that cannot be used from one that is down."""
        try:
            await self.ping()
        except Unavailable as error:
            if isinstance(error.__cause__, AuthenticationError):
                raise Misconfigured("Redis refuses the URL's credentials", field="redis_url") from error
            raise
        if await self._read(self._is_cluster):
            # A commit touches keys that a cluster spreads over its nodes.
            raise Misconfigured("a Redis Cluster cannot be used; name a single Redis", field="redis_url")

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        """See the protocol."""
        return await self._write(self._appender.append, messages)

    async def resume_point(self, session_id: str) -> ResumePoint:
        """See the protocol."""
        return await self._write(self._resume_point, session_id)

    async def read(
        self,
        session_id: str,
        after: FrameId | None = None,
        limit: int | None = None,
        limit_bytes: int | None = None,
    ) -> FramePage:
        """Fetch page by page, without the frames that arrive meanwhile; see the protocol."""
        return await self._read(self._read_frames, session_id, after, limit, limit_bytes)

    async def seal(self, session_id: str) -> None:
        """See the protocol."""
        await self._write(self._redis.set, f"frame_seal:{session_id}", 1, self._memory)

    async def clear(self, session_id: str) -> None:
        """All of it is out of reach at once, then deleted bit by bit, so that Redis goes on answering others.

        What a crash or cancellation leaves of that expires, unless `clear` is called again.
        """
        await self._write(self._clear, session_id)

    async def take_state(self, session_id: str, seconds: float) -> Turn | None:
        """See the protocol."""
        return await self._write(self._leases.take, session_id, seconds)

    async def save_state(
        self, session_id: str, state: bytes, token: int, *, keep_seconds: float = 0.0
    ) -> bool:
        """See the protocol."""
        return await self._write(self._leases.put, session_id, token, keep_seconds, state)

    async def give_back(self, session_id: str, token: int) -> None:
        """See the protocol."""
        await self._write(self._leases.put, session_id, token, 0.0, None)

    async def load_state(self, session_id: str) -> bytes | None:
        """See the protocol."""
        return await self._read(self._redis.get, f"analysis_state:{session_id}")

    async def claim(self, name: str, seconds: float, holder: str = "") -> float:
        """See the protocol."""
        return await self._write(self._leases.claim, name, seconds, holder)

    async def ping(self) -> None:
        """See the protocol. Also finds out anew how durable this Redis is."""
        self._durability = await self._read(self._find_durability)

    @property
    def epoch(self) -> str:
        """See the protocol."""
        return self._appender.epoch

    @property
    def durability(self) -> str:
        """What Redis said at the last `ping`; the least of the three where it does not say."""
        return self._durability

    async def _write(self, call: Callable[..., T], *arguments: object) -> T:
        begun, done = False, trio.Event()
        written: list[T] = []
        loop = trio.lowlevel.current_trio_token()

        def write() -> None:
            nonlocal begun
            begun = True
            try:
                written.append(call(*arguments))
            finally:
                with suppress(trio.RunFinishedError):
                    loop.run_sync_soon(done.set)

        try:
            await self._in_thread(write)
        except trio.Cancelled:
            if begun:
                with trio.move_on_after(CANCELLED_SECONDS, shield=True):
                    await done.wait()
            if not written:
                raise
        return written[0]

    async def _read(self, call: Callable[..., T], *arguments: object) -> T:
        return await self._in_thread(call, *arguments)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await trio.to_thread.run_sync(
                call, *arguments, abandon_on_cancel=True, limiter=self._limiter
            )
        except RedisError as error:
            raise Unavailable(f"Redis: {error}") from error

    def _read_frames(self, session_id: str, after: FrameId | None, *limits: int | None) -> FramePage:
        # Numbers follow arrival, so the frames below the count are those that were there at this moment.
        stored = int(self._redis.hget(f"frame_ledger:{session_id}", "count") or 0)
        members = self._members(session_id, after, stored)
        return page_of(self._bodies(session_id, members), stored, *limits)

    def _members(self, session_id: str, after: FrameId | None, stored: int) -> Iterator[bytes]:
        """The ids of frames in time order, as Redis has them; some may have expired.

        Redis sorts those of one millisecond as text. So each page takes in all of its last millisecond and is
        sorted by number here.
        """
        index = f"frames_meta:{session_id}"
        lower: float | str = "-inf" if after is None else after.time_ms / 1000
        while True:
            found = self._redis.zrangebyscore(index, lower, "+inf", 0, PAGE_FRAMES)
            complete = len(found) < PAGE_FRAMES
            if not complete:
                edge = _place(found[-1])[0] / 1000
                found += self._redis.zrangebyscore(index, edge, edge)
                lower = f"({edge!r}"
            members = {_place(member): member for member in found}
            for place in sorted(members):
                if (after is None or place > after) and place[1] < stored:
                    yield members[place]
            if complete:
                return

    def _bodies(self, session_id: str, members: Iterator[bytes]) -> Iterator[bytes]:
        prefix = f"frame_meta:{session_id}:".encode()
        while some := list(islice(members, BODIES_AT_ONCE)):
            bodies = self._redis.mget([prefix + member for member in some])
            expired = [member for member, body in zip(some, bodies, strict=True) if body is None]
            if expired:
                self._redis.zrem(f"frames_meta:{session_id}", *expired)
            yield from (body for body in bodies if body is not None)

    def _clear(self, session_id: str) -> None:
        doomed = f"frames_cleared:{session_id}"
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.rename(f"frames_meta:{session_id}", doomed)
        pipeline.unlink(*(f"{name}:{session_id}" for name in ("frame_ledger", "frame_digests")))
        self._leases.clear(pipeline, session_id)
        # Whatever Redis refuses aborts the transaction and is raised; what it may answer with besides is that
        # there is no index to rename.
        pipeline.execute(raise_on_error=False)
        while ids := self._redis.zrange(doomed, 0, PAGE_FRAMES - 1):
            pipeline.unlink(*(f"frame_meta:{session_id}:{frame_id.decode()}" for frame_id in ids))
            pipeline.zrem(doomed, *ids)
            pipeline.execute()

    def _is_cluster(self) -> bool:
        try:
            return bool(self._redis.info("cluster")["cluster_enabled"])
        except (ResponseError, KeyError):
            return False  # forbidden or unknown, and whoever runs a cluster does neither by chance

    def _resume_point(self, session_id: str) -> ResumePoint:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(f"frame_ledger:{session_id}", "last")
        pipeline.set(EPOCH_KEY, secrets.token_hex(8), nx=True)
        pipeline.get(EPOCH_KEY)
        pipeline.exists(f"frame_seal:{session_id}")
        last, _, epoch, sealed = pipeline.execute()
        self._appender.epoch = epoch.decode()
        return ResumePoint(int(last or 0) or None, self._appender.epoch, bool(sealed))

    def _find_durability(self) -> str:
        self._redis.ping()
        try:
            info = self._redis.info()
        except ResponseError:
            return "volatile"  # forbidden, hence unknown, hence not promised
        evicts = info["maxmemory"] and info["maxmemory_policy"] != "noeviction"
        if evicts or not info["aof_enabled"]:
            return "volatile"
        try:
            fsync = self._redis.config_get("appendfsync")["appendfsync"]
        except ResponseError:
            return (
                "process"  # any append-only file is written before the answer; when it is synced is unknown
            )
        return "power" if fsync == "always" else "process"


def _place(member: bytes) -> tuple[int, int]:
    """What a `FrameId` of this text would be, at a third of its cost: there are as many as frames."""
    time_ms, _, number = member.rpartition(b"-")
    return int(time_ms), int(number)
