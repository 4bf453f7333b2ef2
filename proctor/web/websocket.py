"""One open WebSocket on its socket: messages in and out, and every way in which it ends.

Nothing here waits. `proctor.web.sockets` calls when there is something to read or room to send; the owner is
called with each message. A peer is let go when it answers no ping, and cut off when it does not take what it
is sent; what it sends after a close is discarded, for so long that it can read why.
"""

import selectors
import socket as stdlib_socket
import struct
from collections.abc import Callable
from contextlib import suppress

import trio

from proctor.settings import Settings
from proctor.web.framing import PING, Framing, Violation, close_frame, text_frame

_READ_BYTES = 16_384
"""Read from one socket before the next has its turn."""
_UNSENT_MAX_BYTES = 65_536
"""A peer that has so much to read is not read from."""
_CLOSE_SECONDS = 2.0
"""How long a peer may take to read why it was closed, and to close as well."""
_PINGS_PER_TIMEOUT = 3
"""A peer is let go after so many ping intervals of silence."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class WebSocket:
    """An accepted WebSocket. `early` is what the peer sent right behind its handshake."""

    def __init__(self, socket: stdlib_socket.socket, settings: Settings, early: bytes = b"") -> None:
        self._socket = socket
        self._settings = settings
        self._framing: Framing | None = Framing(settings.message_max_bytes)
        self._early = early
        self._selector: selectors.BaseSelector | None = None
        self._watched = 0
        self._reading = False
        self._patient = False
        self._take: Callable[[bytes], None]
        self._unsent = bytearray()
        self._stuck_since = 0.0
        self._heard = self._pinged = trio.current_time()
        self._close_by: float | None = None
        """None until a close was sent."""
        self._aborted = False
        self.gone = trio.Event()
        """Set when nothing more comes of this peer: it has closed, has vanished, or was let go."""

    @property
    def unsent_bytes(self) -> int:
        """How much the peer has not taken yet."""
        return len(self._unsent)

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Be served by whoever looks after `selector`."""
        self._selector = selector

    def receive(self, take: Callable[[bytes], None]) -> None:
        """Begin to read; `take` is called with each message, of text or binary alike, and must not wait."""
        self._take = take
        early, self._early = self._early, b""
        self.resume()
        self._feed(early)

    def pause(self) -> None:
        """Read no more until `resume`; `take` may still be called for what was read already."""
        self._reading = False
        self._watch()

    def resume(self) -> None:
        """Read again."""
        self._reading = True
        self._heard = trio.current_time()
        self._watch()

    def hear_out(self) -> None:
        """Read from now on also if the peer does not take what it is sent."""
        self._patient = True
        self._watch()

    def send(self, text: bytes) -> None:
        """Send a text message with the next `flush`, or as soon as the peer takes it."""
        if self._close_by is None:
            self._unsent += text_frame(text)

    def flush(self) -> None:
        """Send as much as the peer takes now; the rest follows by itself."""
        if self._unsent and not self.gone.is_set():
            try:
                sent = self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.gone.set()
                return
            if sent == len(self._unsent):
                self._unsent.clear()
            else:
                if sent or not self._watched & _WRITE:
                    self._stuck_since = trio.current_time()
                del self._unsent[:sent]
        if not self._unsent and self._close_by is not None:
            self._end_sending()
        self._watch()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close behind what was sent before, and read no more messages. The first close stands."""
        if self._close_by is None and not self.gone.is_set():
            self._unsent += close_frame(code, reason)
            self._close_by = trio.current_time() + _CLOSE_SECONDS
            self.flush()

    def drop(self) -> None:
        """Let go of the socket at once. Idempotent."""
        self.gone.set()
        self._watch()
        if self._socket.fileno() != -1 and (self._aborted or self._unsent):
            # Without lingering the kernel drops what a vanished peer never acknowledged.
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):  # from a socket that the peer has reset already
                self._socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
        self._socket.close()
        # Not later, when garbage is collected: peers that come again and again would fill the memory.
        self._framing, self._early, self._unsent = None, b"", bytearray()

    def serve(self, events: int, now: float) -> None:
        """Read or write, as the selector says is possible."""
        if events & _WRITE:
            self.flush()
        if events & _READ and not self.gone.is_set():
            self._read(now)

    def check(self, now: float) -> None:
        """Ping a peer that is silent; give up one that is for too long, takes nothing, or does not close."""
        liveness = self._settings.liveness_timeout_seconds
        blocked = bool(self._watched & _WRITE)
        stuck = blocked and now - self._stuck_since > self._settings.send_timeout_seconds
        if stuck or (self._close_by is not None and now >= self._close_by):
            self._aborted = True
            self.gone.set()
        elif not self._watched & _READ:
            self._heard = now  # time for which it is not read is not its own
        elif now - self._heard >= liveness:
            self._aborted = True
            self.gone.set()
        elif now - max(self._heard, self._pinged) >= liveness / _PINGS_PER_TIMEOUT and self._close_by is None:
            self._pinged = now
            self._unsent += PING
            self.flush()

    def _read(self, now: float) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.gone.set()
            self._watch()
            return
        self._heard = now
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        framing = self._framing
        if framing is None:
            return
        try:
            for message in framing.messages(data):
                if framing.answers:
                    self._answer(framing)
                if self._close_by is None:
                    self._take(message)
        except Violation as violation:
            self._framing = None
            self.close(violation.code)
        self._answer(framing)
        if self._close_by is None and framing.peer_closed:
            self._close_by = trio.current_time() + _CLOSE_SECONDS
        self.flush()

    def _answer(self, framing: Framing) -> None:
        """Answer pings and a close in the order of what came, so before anything about later messages."""
        if self._close_by is None:
            self._unsent += framing.answers
        framing.answers.clear()

    def _end_sending(self) -> None:
        try:
            self._socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError:
            self.gone.set()

    def _watch(self) -> None:
        """Tell the selector what is waited for now."""
        events = 0
        if not self.gone.is_set():
            closing = self._close_by is not None
            full = len(self._unsent) >= _UNSENT_MAX_BYTES and not self._patient
            if closing or (self._reading and not full):
                events |= _READ
            if self._unsent:
                events |= _WRITE
        if events == self._watched or self._selector is None:
            return
        if not self._watched:
            self._selector.register(self._socket, events, self)
        elif events:
            self._selector.modify(self._socket, events, self)
        else:
            self._selector.unregister(self._socket)
        self._watched = events
