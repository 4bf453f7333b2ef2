"""What clients send on a WebSocket, without any I/O; what they are told is in :mod:`proctor.replies`.

A frame is read alike wherever it stands: alone, in a wrapper, as an engine event, or in a batch.
"""

from enum import IntEnum, StrEnum
from types import NoneType
from typing import Any, NamedTuple, Self

import msgspec

from proctor import strict_json
from proctor.clock import client_time_ms
from proctor.errors import InvalidRequest
from proctor.features import take_in

SEQ_MAX = 2**53 - 1
"""Largest whole number that every JSON implementation keeps exact."""


class CloseCode(IntEnum):
    """Why the server closes a WebSocket."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member that knows what it means, so that documentation is derived from it."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    SESSION_ENDED = 1000, "The exam session has ended; `session_ended` was sent before."
    PROTOCOL_ERROR = 1002, "What came is not WebSocket."
    INVALID_TEXT = 1007, "A text message is not UTF-8."
    FLOOD = 1008, "Too many unusable messages."
    TOO_BIG = 1009, "A message is larger than `message_max_bytes`."
    INTERNAL_ERROR = 1011, "The server is at fault; reconnect and send again what was not acknowledged."
    RESTARTING = 1012, "The server stops; reconnect in a moment and send again what was not acknowledged."
    UNAUTHORIZED = 3000, "Your key or sign-in opens this no more; open it again with another."


class ErrorCode(StrEnum):
    """Why a client's message was not used, or only late. The connection goes on."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """Make a member that knows what it means, so that documentation is derived from it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    INVALID_JSON = "invalid_json", "Not UTF-8 JSON, or nested too deeply."
    INVALID_MESSAGE = "invalid_message", "JSON, but none of the accepted shapes."
    UNKNOWN_TYPE = "unknown_type", "`type` is not a message type."
    INVALID_FEATURE = "invalid_feature", "A known feature has a value of the wrong type or range."
    INVALID_TIMESTAMP = "invalid_timestamp", "`timestamp` or `ts` is neither epoch milliseconds nor ISO 8601."
    INVALID_SEQ = "invalid_seq", "`seq` is not a whole number from 0 to 2**53 - 1."
    SEQ_CONFLICT = "seq_conflict", "This `seq` was stored before with other content, which stands."
    MISSING_SESSION = "missing_session", "Raw features without `session_id`."
    WRONG_SESSION = "wrong_session", "`session_id` is not the session of the connection."
    TOO_MANY_FRAMES = "too_many_frames", "A batch has more frames than `batch_max_frames`."
    TOO_FAST = "too_fast", "More than `max_frames_per_second`: read more slowly, nothing is refused or lost."


class Rejected(Exception):
    """A client message that cannot be used, with the reply that says why."""

    def __init__(self, code: ErrorCode, detail: str, seq: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.seq = seq


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame as a client sent it, checked."""

    features: Any
    """An object with a member for each known feature: a dict or, for the usual ones, a Struct."""
    event: dict[str, Any] | None
    """The rest of an engine event, as it came."""
    client_timestamp: Any
    """As it came; None if the client gave no time."""
    client_ms: float | None
    """The same in milliseconds on the client's clock."""


class Frames(msgspec.Struct, frozen=True, gc=False):
    """A message with one frame, or a batch of them; stored and acknowledged as a whole."""

    frames: tuple[Frame, ...]
    seq: int | None


class ClockReading(NamedTuple):
    """The client says what time its clock shows now."""

    timestamp: Any
    client_ms: float
    seq: int | None


_SERVER_NAMES = ("session_id", "timestamp", "frame_id", "received_at", "client_timestamp")
"""Keys of a stored frame that only the server writes; a frame that is streamed again brings them along."""


def parse_json(data: bytes | str) -> Any:
    """Parse a message's JSON as `strict_json` does. Raises Rejected with `invalid_json`."""
    try:
        return strict_json.parse(data)
    except ValueError as failure:
        raise Rejected(ErrorCode.INVALID_JSON, str(failure)) from None


def decode(data: bytes | str, session_id: str, batch_max_frames: int) -> Frames | ClockReading:
    """Read one client message for the connection of `session_id`.

    Raises:
        Rejected: with the error code, a detail that names the field, and the message's `seq` if it has one.
    """
    return read_message(parse_json(data), session_id, batch_max_frames)


def read_message(message: Any, session_id: str, batch_max_frames: int) -> Frames | ClockReading:
    """Read one client message that is parsed already; see `decode`."""
    if not isinstance(message, dict):
        raise Rejected(ErrorCode.INVALID_MESSAGE, "a message must be a JSON object")
    seq = _take_seq(message)
    try:
        _check_session(message, session_id)
        match message.get("type"):
            case "batch":
                return Frames(_read_batch(message, session_id, batch_max_frames), seq)
            case "clock":
                reading = message.get("timestamp")
                return ClockReading(reading, client_time_ms(reading, "timestamp"), seq)
            case _:
                return Frames((_read_frame(message, session_id, alone=True),), seq)
    except InvalidRequest as failure:
        is_time = failure.field in ("timestamp", "ts")
        code = ErrorCode.INVALID_TIMESTAMP if is_time else ErrorCode.INVALID_FEATURE
        raise Rejected(code, failure.detail, seq) from None
    except Rejected as rejected:
        rejected.seq = seq
        raise


def _take_seq(message: dict[str, Any]) -> int | None:
    seq = message.pop("seq", None)
    if seq is None or (type(seq) is int and 0 <= seq <= SEQ_MAX):
        return seq
    raise Rejected(ErrorCode.INVALID_SEQ, f"seq must be a whole number from 0 to {SEQ_MAX}")


def _check_session(fields: dict[str, Any], session_id: str) -> None:
    claimed = fields.get("session_id")
    if claimed is not None and claimed != session_id:
        raise Rejected(ErrorCode.WRONG_SESSION, f"session_id must be {session_id!r}, the session of the URL")


def _read_batch(message: dict[str, Any], session_id: str, most: int) -> tuple[Frame, ...]:
    elements = message.get("frames")
    if not isinstance(elements, list) or not elements:
        raise Rejected(ErrorCode.INVALID_MESSAGE, "frames must be a list of at least one frame")
    if len(elements) > most:
        raise Rejected(ErrorCode.TOO_MANY_FRAMES, f"frames has {len(elements)} elements; at most {most}")
    frames = []
    for place, element in enumerate(elements):
        try:
            if not isinstance(element, dict):
                raise Rejected(ErrorCode.INVALID_MESSAGE, "a frame must be a JSON object")
            if "seq" in element:
                raise Rejected(ErrorCode.INVALID_SEQ, "seq belongs to the batch, not to a frame in it")
            _check_session(element, session_id)
            frames.append(_read_frame(element, session_id, alone=False))
        except Rejected as rejected:
            raise Rejected(rejected.code, f"frames[{place}]: {rejected.detail}") from None
        except InvalidRequest as failure:
            raise InvalidRequest(f"frames[{place}]: {failure.detail}", field=failure.field) from None
    return tuple(frames)


def _read_frame(message: dict[str, Any], session_id: str, *, alone: bool) -> Frame:
    """Read any shape of one frame. Changes `message`."""
    kind = message.pop("type", None)
    if kind == "event":
        return _read_event(_object(message, "event"), session_id)
    if kind == "frame":
        return _wrapped(message, _object(message, "payload" if "payload" in message else "frame"), session_id)
    if kind is not None:
        known = "frame, batch, event or clock" if alone else "frame or event"
        raise Rejected(ErrorCode.UNKNOWN_TYPE, f"type must be {known}, or absent")
    if isinstance(message.get("event"), str):
        return _read_event(message, session_id)
    for name in ("extracted_features", "frame_data"):
        if name in message:
            return _wrapped(message, _object(message, name), session_id)
    if alone and message.get("session_id") is None:
        raise Rejected(
            ErrorCode.MISSING_SESSION,
            'raw features need session_id; or wrap them as {"extracted_features": {…}}',
        )
    return _wrapped({}, message, session_id)


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if isinstance(value, dict):
        return value
    raise Rejected(ErrorCode.INVALID_MESSAGE, f"{name} must be a JSON object")


def _read_event(event: dict[str, Any], session_id: str) -> Frame:
    name = event.get("event")
    if not isinstance(name, str) or not name:
        raise Rejected(ErrorCode.INVALID_MESSAGE, "event must name what happened")
    _check_session(event, session_id)
    found = event.pop("extractedFeatures", None)
    features = {} if found is None else _object({"extractedFeatures": found}, "extractedFeatures")
    return msgspec.structs.replace(_wrapped(event, features, session_id), event=event)


def _wrapped(wrapper: dict[str, Any], features: dict[str, Any], session_id: str) -> Frame:
    """Read features, whose time may stand with them or in their wrapper."""
    _check_session(features, session_id)
    if not isinstance(features.get("event"), (dict, NoneType)):
        raise Rejected(ErrorCode.INVALID_FEATURE, "event among features must be a JSON object or null")
    stamp, client_ms = None, None
    for name, holder in (("timestamp", features), ("timestamp", wrapper), ("ts", features), ("ts", wrapper)):
        if holder.get(name) is not None:
            stamp = holder[name]
            client_ms = client_time_ms(stamp, name)
            if holder is features:
                del features[name]
            break
    for name in _SERVER_NAMES:
        features.pop(name, None)
    return Frame(take_in(features), None, stamp, client_ms)
