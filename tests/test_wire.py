"""What clients send, and what the server makes of it, in every shape of the contract."""

import json
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.features import VOCABULARY
from proctor.replies import Ack, Clock, Error, Heartbeat, SessionEnded, encode
from proctor.wire import SEQ_MAX, ClockReading, CloseCode, ErrorCode, Frame, Frames, Rejected, decode
from tests.document import DOCUMENTED

SESSION = "demo_session"
BATCH_MAX = 5
FACE = {"face_present": 1, "no_of_face": 1, "phone_present": 0}
EVENT = {"event": "GAZE_AWAY", "lv": 7, "ts": 1_767_603_600_000, "source": "gaze", "frameNumber": 12}


def read(message: object) -> Frames | ClockReading:
    return decode(json.dumps(message), SESSION, BATCH_MAX)


def frame(message: object) -> Frame:
    """The one frame that a message holds."""
    found = read(message)
    assert isinstance(found, Frames)
    (only,) = found.frames
    return only


def rejection(message: object) -> Rejected:
    data = message if isinstance(message, (str, bytes)) else json.dumps(message)
    with pytest.raises(Rejected) as caught:
        decode(data, SESSION, BATCH_MAX)
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        {"extracted_features": DOCUMENTED},
        {"type": "frame", "payload": DOCUMENTED},
        {"session_id": SESSION, **DOCUMENTED},
        {"frame_data": {"session_id": SESSION, **DOCUMENTED}},
        {"type": "frame", "frame": DOCUMENTED},
        {"type": "frame", "payload": {"session_id": SESSION, **DOCUMENTED}, "session_id": SESSION},
        {"extracted_features": DOCUMENTED, "session_id": SESSION, "seq": None},
        {"type": None, "extracted_features": DOCUMENTED},
        {"type": "batch", "frames": [DOCUMENTED]},
        {"type": "batch", "frames": [{"type": "frame", "frame": DOCUMENTED}]},
        {"type": "batch", "frames": [{"extracted_features": DOCUMENTED}], "session_id": SESSION},
    ],
)
def test_every_shape_of_a_frame_holds_the_same_frame(message):
    assert read(message) == Frames((Frame(DOCUMENTED, None, None, None),), None)


def test_text_and_bytes_are_read_alike():
    text = json.dumps({"session_id": SESSION, "note": "ünïcode ✓"}, ensure_ascii=False)
    assert decode(text, SESSION, 1) == decode(text.encode(), SESSION, 1)


@pytest.mark.parametrize(
    "wrap", [dict, lambda event: {"type": "event", "event": event}], ids=["bare", "wrapped"]
)
def test_an_engine_event_is_a_frame_of_its_features_with_the_rest_kept(wrap):
    """The rest stays as it came, its time included."""
    event = {**EVENT, "duration": 1200, "extractedFeatures": FACE}
    assert frame(wrap(event)) == Frame(FACE, {**EVENT, "duration": 1200}, EVENT["ts"], EVENT["ts"])


@pytest.mark.parametrize("features", [{}, {"extractedFeatures": None}, {"extractedFeatures": {}}])
def test_an_engine_event_needs_no_features(features):
    assert frame({**EVENT, **features}).features == {}


def test_a_batch_mixes_shapes_and_keeps_their_order():
    found = read({"type": "batch", "seq": 3, "frames": [FACE, EVENT, {"type": "event", "event": EVENT}]})
    assert isinstance(found, Frames)
    assert found.seq == 3
    assert [each.event for each in found.frames] == [None, EVENT, EVENT]


def test_a_stored_frame_streamed_again_keeps_its_features_and_time():
    """What the server had written is written anew; the event it carries stays an event."""
    stored = {
        **FACE,
        "event": EVENT,
        "session_id": SESSION,
        "timestamp": "2026-01-05T09:00:00.250Z",
        "client_timestamp": 5,
        "received_at": "2026-01-05T09:00:00.300Z",
        "frame_id": "1767603600250-7",
    }
    again = frame(stored)
    assert again.features == {**FACE, "event": EVENT}
    assert again.client_timestamp == stored["timestamp"]
    assert again.client_ms == 1_767_603_600_250


@pytest.mark.parametrize("stamp", [1_767_603_600_000, 1_767_603_600_000.5, "2026-01-05T09:00:00Z"])
@pytest.mark.parametrize("name", ["timestamp", "ts"])
def test_the_time_stands_with_the_features_or_in_their_wrapper(name, stamp):
    inside = frame({"extracted_features": {**FACE, name: stamp}})
    beside = frame({"extracted_features": FACE, name: stamp})
    assert inside == beside
    assert inside.features == FACE
    assert inside.client_timestamp == stamp
    assert inside.client_ms == pytest.approx(1_767_603_600_000, abs=1)


def test_an_unknown_time_is_none():
    assert frame({"extracted_features": {**FACE, "timestamp": None}, "ts": None}).client_ms is None


def test_a_clock_message_says_the_clients_time():
    assert read({"type": "clock", "timestamp": 5.5, "seq": 1}) == ClockReading(5.5, 5.5, 1)
    iso = "2026-01-05T09:00:00Z"
    assert read({"type": "clock", "timestamp": iso}) == ClockReading(iso, 1_767_603_600_000, None)


def test_names_outside_the_vocabulary_are_kept_as_they_came():
    odd = {"blink_rate": [1, {"x": None}], "": "empty", "emotion": "😀"}
    assert frame({"extracted_features": odd}).features == odd


def test_unknown_features_are_left_out():
    """Null, NaN, the infinities and the engine's "None" for a number; never turned into 0."""
    text = '{"extracted_features": {"face_x": NaN, "face_y": -Infinity, "face_w": null, "head_yaw": "None"}}'
    assert decode(text, SESSION, 1) == Frames((Frame({}, None, None, None),), None)


def test_of_duplicate_keys_the_last_counts():
    message = decode(
        '{"seq": 1, "extracted_features": {"hand_count": 1, "hand_count": 2}, "seq": 2}', SESSION, 1
    )
    assert message == Frames((Frame({"hand_count": 2}, None, None, None),), 2)


@pytest.mark.parametrize("seq", [0, 1, SEQ_MAX])
def test_seq_may_be_any_exact_whole_number(seq):
    found = read({"extracted_features": {}, "seq": seq})
    assert found.seq == seq


@pytest.mark.parametrize("seq", [-1, SEQ_MAX + 1, 10**300, 1.0, "1", True, [1], {}])
def test_seq_of_another_kind_is_refused(seq):
    """A seq that cannot be used is not sent back either."""
    refused = rejection({"extracted_features": {}, "seq": seq})
    assert (refused.code, refused.seq) == (ErrorCode.INVALID_SEQ, None)


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        ("", ErrorCode.INVALID_JSON, "JSON"),
        (b"", ErrorCode.INVALID_JSON, "JSON"),
        (b"\xff\xfe", ErrorCode.INVALID_JSON, "JSON"),
        ('{"a": "\ud800"}', ErrorCode.INVALID_JSON, "JSON"),
        ("[" * 50_000, ErrorCode.INVALID_JSON, "JSON"),
        ([], ErrorCode.INVALID_MESSAGE, "object"),
        (None, ErrorCode.INVALID_MESSAGE, "object"),
        ("1", ErrorCode.INVALID_MESSAGE, "object"),
        ('"text"', ErrorCode.INVALID_MESSAGE, "object"),
        ({}, ErrorCode.MISSING_SESSION, "session_id"),
        (DOCUMENTED, ErrorCode.MISSING_SESSION, "session_id"),
        ({"session_id": None, **FACE}, ErrorCode.MISSING_SESSION, "session_id"),
        ({"type": "frame"}, ErrorCode.INVALID_MESSAGE, "frame"),
        ({"type": "frame", "payload": None}, ErrorCode.INVALID_MESSAGE, "payload"),
        ({"type": "frame", "frame": [FACE]}, ErrorCode.INVALID_MESSAGE, "frame"),
        ({"extracted_features": 1}, ErrorCode.INVALID_MESSAGE, "extracted_features"),
        ({"frame_data": "x"}, ErrorCode.INVALID_MESSAGE, "frame_data"),
        ({"type": "event"}, ErrorCode.INVALID_MESSAGE, "event"),
        ({"type": "event", "event": "GAZE_AWAY"}, ErrorCode.INVALID_MESSAGE, "event"),
        ({"type": "event", "event": {"event": 5}}, ErrorCode.INVALID_MESSAGE, "event"),
        ({"event": ""}, ErrorCode.INVALID_MESSAGE, "event"),
        ({"event": "X", "extractedFeatures": []}, ErrorCode.INVALID_MESSAGE, "extractedFeatures"),
        ({"type": "video"}, ErrorCode.UNKNOWN_TYPE, "type"),
        ({"type": 5}, ErrorCode.UNKNOWN_TYPE, "type"),
        ({"type": False, "extracted_features": {}}, ErrorCode.UNKNOWN_TYPE, "type"),
        ({"type": "batch"}, ErrorCode.INVALID_MESSAGE, "frames"),
        ({"type": "batch", "frames": []}, ErrorCode.INVALID_MESSAGE, "frames"),
        ({"type": "batch", "frames": FACE}, ErrorCode.INVALID_MESSAGE, "frames"),
        ({"type": "batch", "frames": [FACE] * 6}, ErrorCode.TOO_MANY_FRAMES, "6 elements; at most 5"),
        ({"extracted_features": {"face_x": "left"}}, ErrorCode.INVALID_FEATURE, "face_x"),
        ({"extracted_features": {"phone_present": 2}}, ErrorCode.INVALID_FEATURE, "phone_present"),
        ({"extracted_features": {"head_yaw": 10**400}}, ErrorCode.INVALID_FEATURE, "head_yaw"),
        ({**EVENT, "extractedFeatures": {"face_conf": 101}}, ErrorCode.INVALID_FEATURE, "face_conf"),
        ({"extracted_features": {"event": 5}}, ErrorCode.INVALID_FEATURE, "event"),
        ({"session_id": SESSION, "event": ["GAZE_AWAY"]}, ErrorCode.INVALID_FEATURE, "event"),
        ({"extracted_features": {"timestamp": "noon"}}, ErrorCode.INVALID_TIMESTAMP, "timestamp"),
        ({"extracted_features": {}, "ts": True}, ErrorCode.INVALID_TIMESTAMP, "ts"),
        ({**EVENT, "ts": -1}, ErrorCode.INVALID_TIMESTAMP, "ts"),
        ({"type": "clock"}, ErrorCode.INVALID_TIMESTAMP, "timestamp"),
        ({"type": "clock", "timestamp": [1]}, ErrorCode.INVALID_TIMESTAMP, "timestamp"),
        ({"type": "clock", "timestamp": 10**30}, ErrorCode.INVALID_TIMESTAMP, "timestamp"),
    ],
)
def test_what_cannot_be_used_is_refused_by_code_and_name(message, code, named):
    refused = rejection(message)
    assert refused.code is code
    assert named in refused.detail
    encode(Error(refused.code, refused.detail, refused.seq))


@pytest.mark.parametrize(
    "message",
    [
        {"session_id": "other", **FACE},
        {"extracted_features": FACE, "session_id": "other"},
        {"extracted_features": {"session_id": "other"}},
        {"frame_data": {"session_id": 5}},
        {"type": "frame", "payload": {}, "session_id": "other"},
        {"type": "frame", "frame": {"session_id": "other"}},
        {"type": "event", "event": {**EVENT, "session_id": "other"}},
        {"type": "event", "event": EVENT, "session_id": ""},
        {**EVENT, "extractedFeatures": {"session_id": "other"}},
        {"type": "clock", "timestamp": 0, "session_id": "other"},
        {"type": "batch", "frames": [FACE], "session_id": "other"},
        {"type": "batch", "frames": [{**FACE, "session_id": "other"}]},
        {"type": "batch", "frames": [{"extracted_features": FACE, "session_id": "other"}]},
        {"type": "batch", "frames": [{"type": "event", "event": EVENT, "session_id": "other"}]},
    ],
)
def test_another_session_is_refused_wherever_it_appears(message):
    assert rejection(message).code is ErrorCode.WRONG_SESSION


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"face_x": []}, ErrorCode.INVALID_FEATURE),
        ({"timestamp": "noon"}, ErrorCode.INVALID_TIMESTAMP),
        ({"type": "batch", "frames": [FACE]}, ErrorCode.UNKNOWN_TYPE),
        ({"type": "clock", "timestamp": 0}, ErrorCode.UNKNOWN_TYPE),
        ({"seq": 1, **FACE}, ErrorCode.INVALID_SEQ),
        ({"session_id": "other"}, ErrorCode.WRONG_SESSION),
        ([], ErrorCode.INVALID_MESSAGE),
    ],
)
def test_one_bad_frame_refuses_its_batch_and_is_named_by_its_place(bad, code):
    refused = rejection({"type": "batch", "seq": 9, "frames": [FACE, FACE, bad]})
    assert (refused.code, refused.seq) == (code, 9)
    assert refused.detail.startswith("frames[2]: ")


def test_a_refusal_carries_the_messages_seq():
    assert rejection({"seq": 7, "type": "video"}).seq == 7
    assert rejection({"seq": 8, "extracted_features": {"hand_count": -1}}).seq == 8
    assert rejection({"seq": 9, "extracted_features": {}, "session_id": "other"}).seq == 9


WIRE_NAMES = (
    "type seq session_id payload frame frames extracted_features frame_data event extractedFeatures ts"
)
names = st.sampled_from([*VOCABULARY, *WIRE_NAMES.split(), "timestamp", "frame_id"]) | st.text(
    string.printable, max_size=5
)
words = st.sampled_from(["frame", "batch", "event", "clock", SESSION, "None", "2026-01-05T09:00:00Z"])
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(0, 3) | st.floats() | st.text(max_size=70) | words
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner), max_leaves=12
)
objects = st.dictionaries(names, values, max_size=6)
messages = st.one_of(
    values,
    objects,
    st.builds(lambda features, rest: {**rest, "extracted_features": features}, objects, objects),
    st.builds(lambda features: {"session_id": SESSION, **features}, objects),
    st.builds(lambda event: {"event": "GAZE_AWAY", **event}, objects),
    st.builds(lambda frames: {"type": "batch", "frames": frames}, st.lists(objects, max_size=4)),
)


@pytest.mark.no_cover
@given(st.binary() | st.text() | st.text(st.characters(categories=["Cs", "L"])))
def test_whatever_bytes_or_text_come_they_are_read_or_refused(data):
    try:
        decode(data, SESSION, BATCH_MAX)
    except Rejected as refused:
        encode(Error(refused.code, refused.detail, refused.seq))


@pytest.mark.no_cover
@given(messages)
def test_whatever_json_comes_it_is_refused_or_can_be_stored(message):
    """What is accepted survives being written and read again, and holds no value that its kind does not."""
    try:
        accepted = decode(json.dumps(message), SESSION, BATCH_MAX)
    except Rejected as refused:
        encode(Error(refused.code, refused.detail, refused.seq))
        return
    if isinstance(accepted, ClockReading):
        encode(Clock(accepted.timestamp, "2026-01-05T09:00:00.000Z"))
        return
    for each in accepted.frames:
        features = msgspec.json.decode(msgspec.json.encode(each.features))
        assert json.loads(json.dumps(features)) == features
        again = decode(json.dumps({"extracted_features": features}), SESSION, BATCH_MAX)
        known = {name: value for name, value in features.items() if name in VOCABULARY}
        assert again.frames[0].features.keys() >= known.keys()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            Heartbeat("s", "2026-01-05T09:00:00.000Z"),
            {"type": "heartbeat", "session_id": "s", "timestamp": "2026-01-05T09:00:00.000Z"},
        ),
        (
            SessionEnded("s", "2026-01-05T09:00:00.000Z"),
            {"type": "session_ended", "session_id": "s", "timestamp": "2026-01-05T09:00:00.000Z"},
        ),
        (Ack(0), {"type": "ack", "seq": 0}),
        (
            Error(ErrorCode.SEQ_CONFLICT, "why", 0),
            {"type": "error", "code": "seq_conflict", "detail": "why", "seq": 0},
        ),
        (
            Error(ErrorCode.INVALID_JSON, "why"),
            {"type": "error", "code": "invalid_json", "detail": "why"},
        ),
        (Clock(5, "t"), {"type": "clock", "timestamp": 5, "server_timestamp": "t"}),
    ],
)
def test_the_servers_messages_have_exactly_the_documented_keys(message, text):
    assert json.loads(encode(message)) == text


def test_codes_know_what_they_mean():
    """Documentation is derived from the members, which stay usable as the numbers and texts they are."""
    assert all(code.meaning.endswith(".") for code in (*CloseCode, *ErrorCode))
    assert CloseCode(1008) is CloseCode.FLOOD
    assert ErrorCode("invalid_json") is ErrorCode.INVALID_JSON
    assert f"{CloseCode.FLOOD:d} {ErrorCode.INVALID_SEQ}" == "1008 invalid_seq"
