"""What one process at a time has, in Redis: claimed names, and the analysis states of sessions."""

import math
from typing import Any

import redis

from proctor.storage.frames import Turn

CLAIM = """
local holder = redis.call('GET', KEYS[1])
if holder and (holder == '' or holder ~= ARGV[2]) then
    return math.max(1, redis.call('PTTL', KEYS[1]))
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return 0
"""
TAKE = """
local lease, turn, state = unpack(KEYS)
if not redis.call('SET', lease, 1, 'NX', 'PX', ARGV[1]) then
    return false
end
local token = redis.call('INCR', turn)
redis.call('EXPIRE', turn, ARGV[2])
return {token, redis.call('GET', state)}
"""
PUT = """
local lease, turn, state = unpack(KEYS)
local token, milliseconds, memory, new_state = unpack(ARGV)
if redis.call('GET', turn) ~= token then
    return 0
end
if new_state then
    redis.call('SET', state, new_state, 'EX', memory)
end
if milliseconds == '0' then
    redis.call('DEL', lease)
else
    redis.call('SET', lease, 1, 'PX', milliseconds)
end
return 1
"""


class Leases:
    """Runs the scripts. Blocks; any number of threads may use one.

    A lease alone keeps nobody from writing who was stopped and wakes when it has lapsed. So a state is saved
    only under the token that was given out last. Without another turn in between it may be saved late.
    """

    def __init__(self, client: redis.Redis, memory_seconds: int) -> None:
        self._memory = memory_seconds
        self._claim = client.register_script(CLAIM)
        self._take = client.register_script(TAKE)
        self._put = client.register_script(PUT)

    def claim(self, name: str, seconds: float, holder: str) -> float:
        """As :meth:`proctor.storage.frames.FrameStore.claim`."""
        # A claim for no time at all is one that Redis forgets before anybody can see it.
        left: int = self._claim([f"claim:{name}"], [max(1, _milliseconds(seconds)), holder])
        return left / 1000

    def take(self, session_id: str, seconds: float) -> Turn | None:
        """As :meth:`proctor.storage.frames.FrameStore.take_state`."""
        taken = self._take(_keys(session_id), [max(1, _milliseconds(seconds)), self._memory])
        return None if taken is None else Turn(*taken)

    def put(self, session_id: str, token: int, keep_seconds: float, state: bytes | None) -> bool:
        """Save a state if there is one, hold on to the lease or give it back; False for an earlier token."""
        arguments: list[Any] = [token, _milliseconds(keep_seconds), self._memory]
        if state is not None:
            arguments.append(state)
        return bool(self._put(_keys(session_id), arguments))

    def clear(self, pipeline: Any, session_id: str) -> None:
        """Add to a transaction that the state goes, and that whoever has it can save it no more."""
        lease, turn, state = _keys(session_id)
        pipeline.unlink(lease, state)
        pipeline.incr(turn)
        pipeline.expire(turn, self._memory)


def _keys(session_id: str) -> list[str]:
    return [f"{name}:{session_id}" for name in ("analysis_lease", "analysis_turn", "analysis_state")]


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
