"""The board of processes on one Redis; see :mod:`proctor.monitor.board`."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import redis
import trio
from redis.exceptions import RedisError

from proctor.errors import Unavailable
from proctor.monitor.board import WATCHED_SECONDS
from proctor.settings import Settings
from proctor.storage.redis_client import open_redis

_ANSWER_SECONDS = 5.0
_CALLS_AT_ONCE = 4
_MEMORY_SECONDS = 24 * 3600
"""How long notes outlive the last change."""

_PUT = """
local number, notes, order = unpack(KEYS)
for i = 2, #ARGV, 2 do
    redis.call('HSET', notes, ARGV[i], ARGV[i + 1])
    redis.call('ZADD', order, redis.call('INCR', number), ARGV[i])
end
for _, key in ipairs(KEYS) do
    redis.call('EXPIRE', key, ARGV[1])
end
"""
_SINCE = """
local number, notes, order = unpack(KEYS)
local last = tonumber(redis.call('GET', number) or 0)
local since = tonumber(ARGV[1])
if since > last then
    since = 0
end
local names = redis.call('ZRANGEBYSCORE', order, '(' .. since, '+inf')
local answer = {last}
for start = 1, #names, 1000 do
    local some = {unpack(names, start, math.min(start + 999, #names))}
    for i, note in ipairs(redis.call('HMGET', notes, unpack(some))) do
        answer[#answer + 1] = some[i]
        answer[#answer + 1] = note
    end
end
return answer
"""


@asynccontextmanager
async def open_redis_board(settings: Settings) -> AsyncIterator["RedisBoard"]:
    """Open the board on `redis_url`, with connections of its own. Raises Misconfigured if it is none."""
    async with open_redis(settings, _ANSWER_SECONDS) as client:
        yield RedisBoard(client)


class RedisBoard:
    """The :class:`proctor.monitor.board.Board` of all processes. Get one from `open_redis_board`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._keys = ("monitor_number", "monitor_notes", "monitor_order")
        self._put = client.register_script(_PUT)
        self._since = client.register_script(_SINCE)
        self._limiter = trio.CapacityLimiter(_CALLS_AT_ONCE)

    async def watch(self) -> None:
        """See the protocol."""
        await self._call(partial(self._redis.set, "monitor_watched", 1, px=int(1000 * WATCHED_SECONDS)))

    async def is_watched(self) -> bool:
        """See the protocol."""
        return bool(await self._call(partial(self._redis.exists, "monitor_watched")))

    async def put(self, notes: Mapping[str, bytes]) -> None:
        """See the protocol."""
        if notes:
            arguments = [each for note in notes.items() for each in note]
            await self._call(partial(self._put, self._keys, [_MEMORY_SECONDS, *arguments]))

    async def since(self, number: int) -> tuple[int, Mapping[str, bytes]]:
        """See the protocol."""
        last, *flat = await self._call(partial(self._since, self._keys, [number]))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return last, {name.decode(): note for name, note in pairs if note is not None}

    async def remove(self, names: Iterable[str]) -> None:
        """See the protocol."""
        _, notes, order = self._keys
        gone = list(names)
        if gone:
            await self._call(partial(self._redis.hdel, notes, *gone))
            await self._call(partial(self._redis.zrem, order, *gone))

    async def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        except RedisError as error:
            raise Unavailable(f"Redis: {error}") from error
