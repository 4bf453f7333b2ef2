"""What a client has to keep until the server says that it is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from proctor.simulator.tally import Tally


@dataclass
class _Outgoing:
    seq: int
    text: str
    frames: int
    sent_at: float | None = None
    """Trio's clock when it was first sent."""


class Outbox:
    """Numbered messages until they are acknowledged, at most `window` of them, oldest first."""

    def __init__(self, window: int, tally: Tally) -> None:
        self._window = window
        self._tally = tally
        self._next_seq = 1
        self._waiting: dict[int, _Outgoing] = {}
        self._closed = False
        self._changed = trio.Event()

    @property
    def drained(self) -> bool:
        """Whether nothing waits and nothing more will come."""
        return self._closed and not self._waiting

    @property
    def waiting(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._waiting)

    async def put(self, frames: Sequence[bytes]) -> None:
        """Number a message of these encoded frames; waits while the window is full."""
        while len(self._waiting) >= self._window:
            await self._changed.wait()
        seq = self._next_seq
        self._next_seq += 1
        text = _message(seq, frames).decode()
        self._waiting[seq] = _Outgoing(seq, text, len(frames))
        self._tally.frames_sent += len(frames)
        self._notify()

    def close(self) -> None:
        """Promise that nothing more will be put."""
        self._closed = True
        self._notify()

    async def after(self, seq: int) -> _Outgoing | None:
        """Return the oldest waiting message above `seq`, as soon as there is one; None once drained."""
        while True:
            for message in self._waiting.values():
                if message.seq > seq:
                    return message
            if self.drained:
                return None
            await self._changed.wait()

    def acknowledge(self, seq: int) -> None:
        """Let go of a stored message; a number that does not wait is ignored."""
        message = self._waiting.pop(seq, None)
        if message is not None:
            self._tally.messages_acknowledged += 1
            self._tally.frames_acknowledged += message.frames
            if message.sent_at is not None:
                self._tally.latencies.append(trio.current_time() - message.sent_at)
            self._notify()

    def stored_up_to(self, seq: int) -> None:
        """Let go of all messages up to one; the server has them."""
        for waiting in [waiting for waiting in self._waiting if waiting <= seq]:
            self.acknowledge(waiting)

    def drop(self, seq: int) -> None:
        """Let go of a message that the server refused for good."""
        if self._waiting.pop(seq, None) is not None:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _message(seq: int, frames: Sequence[bytes]) -> bytes:
    if len(frames) == 1:
        return b'{"seq":%d,%s' % (seq, frames[0][1:])
    return b'{"seq":%d,"type":"batch","frames":[%s]}' % (seq, b",".join(frames))
