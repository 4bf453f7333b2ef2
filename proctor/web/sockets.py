"""The open WebSockets: one task reads and writes all of them.

A task for each would cost more than everything else that is done about a message, and most of the memory of a
client that is silent. Here one selector holds all sockets; Trio waits for the selector, and what is ready is
then served without waiting: what has come goes to the socket's owner, what could not be sent before is sent.
Whatever goes wrong with one socket ends that socket.
"""

import selectors
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import trio

from proctor.settings import Settings
from proctor.web.websocket import WebSocket
from proctor.wire import CloseCode

_log = structlog.get_logger(__name__)

_ROUND_SECONDS = 0.005
"""How long sockets are served before other tasks have their turn."""
_PAUSE_SECONDS = 0.004
"""Least time from one round to the next: under load, a round then serves many sockets."""
_CHECKS = 500
"""Sockets that are checked in one round: to check ten thousand in one go is what others would feel."""
_SWEEPS_PER_TIMEOUT = 10
_SWEEP_MAX_SECONDS = 1.0


class Sockets:
    """Serves every WebSocket that is open in it, for as long as `run` runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        shortest = min(settings.liveness_timeout_seconds / 3, settings.send_timeout_seconds)
        self._sweep_seconds = min(_SWEEP_MAX_SECONDS, shortest / _SWEEPS_PER_TIMEOUT)
        self._open: set[WebSocket] = set()

    @contextmanager
    def open(self, socket: WebSocket) -> Iterator[None]:
        """Serve `socket` inside the block; on leaving, it is closed at once."""
        socket.attach(self._selector)
        self._open.add(socket)
        try:
            yield
        finally:
            self._open.discard(socket)
            socket.drop()

    async def run(self) -> None:
        """Serve until cancelled."""
        next_sweep = trio.current_time()
        unchecked: list[WebSocket] = []
        while True:
            with trio.move_on_at(trio.current_time() if unchecked else next_sweep):
                await trio.lowlevel.wait_readable(self._selector.fileno())
            now = trio.current_time()
            if now >= next_sweep:
                next_sweep = now + self._sweep_seconds
                unchecked = list(self._open)
            for socket in unchecked[-_CHECKS:]:
                socket.check(now)
            del unchecked[-_CHECKS:]
            await self._round(now)
            await trio.sleep_until(now + _PAUSE_SECONDS)

    async def _round(self, now: float) -> None:
        """Serve all that is ready, and let others run in between."""
        turn_ends = now + _ROUND_SECONDS
        for key, events in self._selector.select(0):
            socket: WebSocket = key.data
            try:
                socket.serve(events, now)
            except Exception:  # noqa: BLE001 - the border: a connection's failure is that connection's
                _log.exception("connection failed")
                socket.close(CloseCode.INTERNAL_ERROR, CloseCode.INTERNAL_ERROR.name.lower())
            now = trio.current_time()
            if now > turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends = trio.current_time() + _ROUND_SECONDS
