"""What the server says on an exam taker's WebSocket."""

from typing import Any

import msgspec

from proctor.wire import ErrorCode


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Sent first, and again if the frame store was emptied: the messages numbered 1 to `last_seq` are stored.

    `last_seq` is null if number 1 is not. With another `epoch` than before, what was stored before is lost.
    """

    session_id: str
    last_seq: int | None
    epoch: str


class Heartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """Sent every `heartbeat_interval_seconds`."""

    session_id: str
    timestamp: str


class Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack"):
    """The message `seq` and every usable message before it on this connection are stored."""

    seq: int


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """A message could not be used, and nothing of it was stored; but for `too_fast`, which refuses none."""

    code: ErrorCode
    detail: str
    seq: int | None = None


class Clock(msgspec.Struct, frozen=True, tag_field="type", tag="clock"):
    """Answer to a `clock` message: its timestamp as it came, and the server's time at its receipt."""

    timestamp: Any
    server_timestamp: str


class SessionEnded(msgspec.Struct, frozen=True, tag_field="type", tag="session_ended"):
    """The exam session has ended; the server closes the connection next."""

    session_id: str
    timestamp: str


class Message(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """Somebody who watches the exam has written to the candidate."""

    session_id: str
    text: str
    timestamp: str


class Alert(msgspec.Struct, frozen=True, tag_field="type", tag="alert"):
    """A rule has found something that the candidate had better know; only where the exam's policy says so."""

    session_id: str
    rule: str
    message: str
    timestamp: str


ServerMessage = Resume | Heartbeat | Ack | Error | Clock | SessionEnded | Message | Alert

_encoder = msgspec.json.Encoder()


def encode(message: ServerMessage) -> bytes:
    """Write a server message as the text of a WebSocket message."""
    return _encoder.encode(message)


def encode_ack(seq: int) -> bytes:
    """Write an `Ack`, of which there are as many as messages come in."""
    return b'{"type":"ack","seq":%d}' % seq
