"""What a connection needs of its client's WebSocket, so that anything may stand in for one."""

from collections.abc import Callable
from typing import Protocol

import trio


class Socket(Protocol):
    """What a connection needs of a WebSocket; see `proctor.web.websocket`."""

    gone: trio.Event

    def receive(self, take: Callable[[bytes], None]) -> None:
        """Begin to read."""

    def pause(self) -> None:
        """Read no more until `resume`."""

    def resume(self) -> None:
        """Read again."""

    def hear_out(self) -> None:
        """Read from now on also if the peer does not take what it is sent."""

    def send(self, text: bytes) -> None:
        """Send with the next `flush`; nothing, once closed."""

    def flush(self) -> None:
        """Send now."""

    def close(self, code: int, reason: str = "") -> None:
        """Send a close, behind what was sent before. The first one stands."""
