"""The WebSocket protocol as an AsyncAPI 3 document: what `proctor.wire` reads and writes."""

import inspect
from typing import Any, NamedTuple, get_args

import msgspec

from proctor import __version__
from proctor.features import VOCABULARY, Kind
from proctor.replies import ServerMessage
from proctor.wire import SEQ_MAX, CloseCode, ErrorCode

_ADDRESS = "/api/v1/session/ws/{session_id}"

_KINDS: dict[Kind, dict[str, Any]] = {
    Kind.FLAG: {"enum": [0, 1, False, True, None]},
    Kind.COUNT: {"type": ["integer", "null"], "minimum": 0, "maximum": 1000},
    Kind.NUMBER: {"type": ["number", "null"]},
    Kind.CONFIDENCE: {"type": ["number", "null"], "minimum": 0, "maximum": 100},
    Kind.TEXT: {"type": ["string", "null"], "maxLength": 64},
}
_TIME = {
    "type": ["number", "string", "null"],
    "description": "Event time: milliseconds since the epoch, or ISO 8601.",
}
_SEQ = {
    "type": "integer",
    "minimum": 0,
    "maximum": SEQ_MAX,
    "description": "Rising number of the message; asks for an `ack` once it and all before it are stored.",
}
_FEATURES = {"$ref": "#/components/schemas/features"}
_EVENT = {"$ref": "#/components/schemas/event"}
_FRAME: dict[str, Any] = {"face_present": 1, "no_of_face": 1, "phone_present": 0}
_ENGINE_EVENT: dict[str, Any] = {
    "event": "TAB_SWITCHED",
    "lv": 9,
    "ts": 1767603600000,
    "extractedFeatures": None,
}


class Shape(NamedTuple):
    """One accepted form of a client message."""

    name: str
    summary: str
    schema: dict[str, Any]
    example: dict[str, Any]


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, "seq": _SEQ, **optional}
    return {"type": "object", "required": list(required), "properties": properties}


CLIENT_SHAPES = (
    Shape(
        "extracted_features",
        "Features in a wrapper (recommended).",
        _object({"extracted_features": _FEATURES}, timestamp=_TIME),
        {"seq": 1, "extracted_features": _FRAME},
    ),
    Shape(
        "frame",
        "Features in a typed wrapper; `frame` may stand for `payload`.",
        _object({"type": {"const": "frame"}}, payload=_FEATURES, frame=_FEATURES, timestamp=_TIME),
        {"type": "frame", "payload": _FRAME},
    ),
    Shape(
        "frame_data",
        "Features in the wrapper of older clients.",
        _object({"frame_data": _FEATURES}, timestamp=_TIME),
        {"frame_data": {"session_id": "demo_session", **_FRAME}},
    ),
    Shape(
        "raw",
        "Features alone; these need `session_id`.",
        {"allOf": [_object({"session_id": {"type": "string"}}), _FEATURES]},
        {"session_id": "demo_session", **_FRAME},
    ),
    Shape(
        "engine_event",
        "An event of the browser engine as it is.",
        {"allOf": [_object({"event": {"type": "string"}}), _EVENT]},
        _ENGINE_EVENT,
    ),
    Shape(
        "event",
        "An event of the browser engine in a typed wrapper.",
        _object({"type": {"const": "event"}, "event": _EVENT}),
        {"type": "event", "event": _ENGINE_EVENT},
    ),
    Shape(
        "batch",
        "Many frames or events, stored and acknowledged as one message; each element in any shape above.",
        _object(
            {
                "type": {"const": "batch"},
                "frames": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            }
        ),
        {"seq": 2, "type": "batch", "frames": [_FRAME, {"event": "TAB_RETURNED", "lv": 3}]},
    ),
    Shape(
        "clock",
        "What the client's clock shows now. Fixes the connection's clock offset; answered by `clock`.",
        _object({"type": {"const": "clock"}, "timestamp": {**_TIME, "type": ["number", "string"]}}),
        {"type": "clock", "timestamp": 1767603600000},
    ),
)


def client_schemas() -> dict[str, dict[str, Any]]:
    """Return JSON schemas of everything a client sends, by component name."""
    features = {name: {**_KINDS[kind], "description": f"{kind.value}."} for name, kind in VOCABULARY.items()}
    event = {
        "event": {"type": "string", "minLength": 1, "description": "What happened, e.g. `TAB_SWITCHED`."},
        "lv": {"description": "The engine's severity. Evidence of nothing: the server judges by itself."},
        "ts": _TIME,
        "extractedFeatures": {"anyOf": [_FEATURES, {"type": "null"}]},
    }
    return {
        "features": {
            "type": "object",
            "description": "A missing or null feature is unknown, never 0. Other names are kept.",
            "properties": {**features, "timestamp": _TIME},
        },
        "event": {"type": "object", "required": ["event"], "properties": event},
        **{f"client_{shape.name}": shape.schema for shape in CLIENT_SHAPES},
    }


def server_messages() -> dict[str, type[msgspec.Struct]]:
    """Return the types of everything the server sends, by message type."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(ServerMessage)}


def summary(kind: type[msgspec.Struct]) -> str:
    """Return what a message means, in one sentence."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def asyncapi_document() -> dict[str, Any]:
    """Return the AsyncAPI document as JSON values."""
    kinds = server_messages()
    _, server_schemas = msgspec.json.schema_components(
        tuple(kinds.values()), ref_template="#/components/schemas/{name}"
    )
    messages = {
        f"client_{shape.name}": {
            "summary": shape.summary,
            "payload": {"$ref": f"#/components/schemas/client_{shape.name}"},
            "examples": [{"payload": shape.example}],
        }
        for shape in CLIENT_SHAPES
    }
    for name, kind in kinds.items():
        messages[f"server_{name}"] = {
            "summary": summary(kind),
            "description": inspect.getdoc(kind) or "",
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }

    def side(prefix: str, action: str, summary: str) -> dict[str, Any]:
        names = [name for name in messages if name.startswith(prefix)]
        refs = [{"$ref": f"#/channels/stream/messages/{name}"} for name in names]
        return {
            "action": action,
            "channel": {"$ref": "#/channels/stream"},
            "summary": summary,
            "messages": refs,
        }

    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Proctor: the exam taker's stream", "version": __version__},
        "channels": {
            "stream": {
                "address": _ADDRESS,
                "parameters": {"session_id": {"description": "The exam session."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "receive": side("client_", "receive", "What the server takes, as UTF-8 JSON, text or binary."),
            "send": side("server_", "send", "What the server sends, as JSON text."),
        },
        "components": {"messages": messages, "schemas": {**client_schemas(), **server_schemas}},
        "x-close-codes": {str(code.value): code.meaning for code in CloseCode},
        "x-error-codes": {code.value: code.meaning for code in ErrorCode},
    }
