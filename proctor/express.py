"""The usual messages, read in one pass by compiled structs.

Most messages have nothing unusual in them. Whatever has (a name outside the vocabulary, an engine's event, a
flag that is `true`, any mistake …) is left to `proctor.wire`, which reads everything; of what both can read,
both say the same.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from proctor.clock import client_time_ms
from proctor.errors import InvalidRequest
from proctor.features import COUNT_MAX, NUMBER_MAX, TEXT_MAX_CHARACTERS, VOCABULARY, Kind, as_percent
from proctor.wire import SEQ_MAX, Frame, Frames

_NUMBER = Annotated[int, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)] | float
_TYPES: dict[Kind, Any] = {
    Kind.FLAG: Literal[0, 1] | None,
    Kind.COUNT: Annotated[int, Meta(ge=0, le=COUNT_MAX)] | None,
    Kind.NUMBER: _NUMBER | None,
    Kind.CONFIDENCE: Annotated[int, Meta(ge=0, le=100)] | Annotated[float, Meta(ge=0, le=100)] | None,
    Kind.TEXT: Annotated[str, Meta(max_length=TEXT_MAX_CHARACTERS)] | None,
}
_CONFIDENCES = tuple(name for name, kind in VOCABULARY.items() if kind is Kind.CONFIDENCE)
_Time = _NUMBER | str | None

# A feature that is null or missing is its default, and so is not written.
_Features: Any = msgspec.defstruct(
    "_Features",
    [
        *((name, _TYPES[kind], None) for name, kind in VOCABULARY.items()),
        ("session_id", str | None, None),
        ("timestamp", _Time, None),
    ],
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
)
_Message: Any = msgspec.defstruct(
    "_Message",
    [
        ("seq", Annotated[int, Meta(ge=0, le=SEQ_MAX)] | None, None),
        ("type", Literal["frame", "batch"] | None, None),
        *((name, _Features, UNSET) for name in ("extracted_features", "frame_data", "payload", "frame")),
        ("frames", list[_Features], UNSET),
    ],
    bases=(_Features,),
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
)
_decode = msgspec.json.Decoder(_Message).decode


def read(data: bytes | str, session_id: str, batch_max_frames: int) -> Frames | None:
    """Read a usual message for the connection of `session_id`; None for one that `wire.decode` is to read."""
    try:
        message = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    claimed = message.session_id
    if claimed is not None and claimed != session_id:
        return None
    seq, wrapper_time = message.seq, message.timestamp
    features: Sequence[Any]
    if message.type == "batch":
        features, wrapper_time = message.frames or (), None
        if not 0 < len(features) <= batch_max_frames:
            return None
    elif message.type == "frame":
        features = (message.payload if message.payload is not UNSET else message.frame,)
    elif message.extracted_features is not UNSET:
        features = (message.extracted_features,)
    elif message.frame_data is not UNSET:
        features = (message.frame_data,)
    elif claimed is not None and message.payload is message.frame is message.frames is UNSET:
        message.seq = None
        features = (message,)
    else:
        return None
    frames = []
    for each in features:
        frame = _frame(each, session_id, wrapper_time)
        if frame is None:
            return None
        frames.append(frame)
    return Frames(tuple(frames), seq)


def _frame(features: Any, session_id: str, wrapper_time: Any) -> Frame | None:
    if features is UNSET or features.session_id not in (None, session_id):
        return None
    stamp = wrapper_time if features.timestamp is None else features.timestamp
    client_ms = None
    if stamp is not None:
        try:
            client_ms = client_time_ms(stamp, "timestamp")
        except InvalidRequest:
            return None
    features.session_id = features.timestamp = None
    for name in _CONFIDENCES:
        confidence = getattr(features, name)
        if confidence is not None and confidence <= 1:
            setattr(features, name, as_percent(confidence))
    return Frame(features, None, stamp, client_ms)
