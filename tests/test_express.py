"""The express way of usual messages: what it reads is what the full way reads, to the byte in the store."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proctor import express
from proctor.clock import ClientClock
from proctor.features import VOCABULARY, Kind
from proctor.ingest import frame_message
from proctor.storage.frames import FrameMessage
from proctor.web.asyncapi import CLIENT_SHAPES
from proctor.wire import Frames, Rejected, decode

NOW = 1_767_603_600_000
SESSION = "exam"
MOST = 5


def stored(frames: Frames) -> FrameMessage:
    return frame_message(SESSION, frames, ClientClock(), NOW)


def full(data: bytes) -> Frames | None:
    """What the full way reads; None if it refuses, or if it is no frame."""
    try:
        message = decode(data, SESSION, MOST)
    except Rejected:
        return None
    return message if isinstance(message, Frames) else None


def agree(data: bytes) -> bool:
    """Whether the express way took a message; if it did, both ways have to say the same."""
    taken = express.read(data, SESSION, MOST)
    if taken is None:
        return False
    other = full(data)
    assert other is not None
    assert taken.seq == other.seq
    without_features = [
        [(frame.event, frame.client_timestamp, frame.client_ms) for frame in each.frames]
        for each in (taken, other)
    ]
    assert without_features[0] == without_features[1]
    one, two = stored(taken), stored(other)
    assert one == two  # the digests are equal, too
    for frame in one.frames:
        json.loads(frame.head + b'0-0"}', parse_constant=lambda name: pytest.fail(name))
    return True


VALID = {
    Kind.FLAG: st.sampled_from([0, 1, None]),
    Kind.COUNT: st.none() | st.integers(0, 1000),
    Kind.NUMBER: st.none() | st.floats(-1e6, 1e6) | st.integers(-(2**53), 2**53),
    Kind.CONFIDENCE: st.none() | st.floats(0, 100) | st.floats(0, 1) | st.integers(0, 100),
    Kind.TEXT: st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
}
times = st.none() | st.integers(0, 10**14 - 1) | st.floats(0, 1e13) | st.just("2026-01-05T09:00:00.5Z")
odd = (
    st.none()
    | st.booleans()
    | st.integers(-3, 1005)
    | st.integers(-(2**70), 2**70)
    | st.floats(-2, 102)
    | st.sampled_from([1e300, -0.0, 1.0, 0.0, 100.0, 1e-320, 2.0**53, 2**53 + 1, 10**14])
    | st.text(max_size=70)
    | st.sampled_from(["None", "x" * 64, "x" * 65, "😀" * 64, SESSION, "other", "\0", "2026-01-05", ""])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=1)
)
usual_features = st.fixed_dictionaries(
    {},
    optional={name: VALID[kind] for name, kind in VOCABULARY.items()}
    | {"timestamp": times, "session_id": st.sampled_from([None, SESSION])},
)
SOME = ["face_present", "no_of_face", "head_yaw", "face_conf", "phone_conf", "head_pose", "timestamp", "ts"]
odd_features = st.dictionaries(
    st.sampled_from([*SOME, "session_id", "event", "odd", "frame_id", "received_at", "seq", "type"]),
    odd,
    max_size=4,
)
features = usual_features | odd_features
seqs = st.none() | st.integers(0, 2**53 - 1) | odd
wrappers = st.fixed_dictionaries(
    {},
    optional={
        "seq": seqs,
        "type": st.sampled_from(["frame", "batch", "event", "clock", "video", None, 1]),
        "session_id": st.sampled_from([SESSION, "other", None, 7]),
        "timestamp": times | odd,
        "ts": times,
        "extracted_features": features | odd,
        "frame_data": features,
        "payload": features,
        "frame": features,
        "frames": st.lists(features, max_size=MOST + 1),
        "event": st.sampled_from(["TAB_SWITCHED", None]),
        "face_present": odd,
        "head_pose": odd,
    },
)
usual_messages = st.one_of(
    st.fixed_dictionaries({"extracted_features": usual_features}, optional={"seq": st.integers(0, 9)}),
    st.fixed_dictionaries(
        {"type": st.just("batch"), "frames": st.lists(usual_features, min_size=1, max_size=MOST)},
        optional={"seq": st.integers(0, 9), "timestamp": times},
    ),
)


@given(wrappers | odd_features)
@hypothesis_settings(max_examples=200, deadline=None)
def test_what_the_express_way_takes_it_reads_as_the_full_way_does(message):
    agree(json.dumps(message).encode())


@given(usual_messages, st.booleans())
@hypothesis_settings(max_examples=50, deadline=None)
def test_usual_messages_go_the_express_way(message, ascii_only):
    assert agree(json.dumps(message, ensure_ascii=ascii_only).encode())


@given(usual_messages, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_message_sent_again_is_the_same_message_whichever_way_it_goes(message, shuffling: random.Random):
    """In another order, with another wrapper, spaced out, or with an unknown value left out."""
    again = json.loads(json.dumps(message), object_pairs_hook=lambda pairs: _rewritten(pairs, shuffling))
    again["seq"] = message["seq"] = 1
    slow = again | {"ts": None}
    digests = set()
    for each, is_express in ((message, True), (again, True), (slow, False)):
        data = json.dumps(each, indent=1).encode()
        taken = express.read(data, SESSION, MOST)
        assert (taken is not None) == is_express
        frames = taken or full(data)
        assert frames is not None
        digests.add(stored(frames).digest)
    assert len(digests) == 1


def _rewritten(pairs: list[tuple[str, Any]], shuffling: random.Random) -> dict[str, Any]:
    kept = [(name, value) for name, value in pairs if value is not None]
    shuffling.shuffle(kept)
    return dict(kept)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        "[]",
        "{",
        '{"extracted_features": {}} x',
        '{"extracted_features": {"head_yaw": NaN}}',
        '{"extracted_features": {"head_yaw": 1e999}}',
        '{"extracted_features": {"head_pose": "\\ud800"}}',
        '{"extracted_features": {"head_pose": "\\u0000"}}',
        '{"extracted_features": {"head_yaw": 1, "head_yaw": 2}, "seq": 1, "seq": 2}',
        '{"extracted_features": {}, "extracted_features": null}',
        '{"extracted_features": {"head_yaw": -0}}',
        '{"extracted_features": {"head_yaw": 100000000000000000000000}}',
        '{"extracted_features": {"no_of_face": 1.0, "face_present": 1.0}, "seq": 1.0}',
        '{"extracted_features": {"no_of_face": 1e2}}',
        '{"session_id": "exam", "type": null, "head_yaw": 1}',
        '{"session_id": "exam", "face_conf": 1, "phone_conf": 0}',
        '{"session_id": "exam"}',
        '{"session_id": null, "head_yaw": 1}',
        '{"type": "frame"}',
        '{"type": "frame", "payload": {}, "frame": {"head_yaw": 1}}',
        '{"type": "batch", "frames": []}',
        '{"type": "batch", "frames": [{}, {"session_id": "other"}]}',
        '{"type": "batch", "frames": [{}, {}, {}, {}, {}, {}]}',
        "[" * 10_000,
        '{"extracted_features":' * 5_000,
    ],
)
def test_curious_messages_are_read_alike(text):
    agree(text.encode())


def test_bytes_that_are_no_text_are_left_to_the_full_way():
    assert not agree(b'{"extracted_features": {"head_pose": "\xff"}}')


@pytest.mark.parametrize("shape", CLIENT_SHAPES, ids=lambda shape: shape.name)
def test_the_documented_examples_are_usual_but_for_events_and_clocks(shape):
    example = json.dumps(shape.example).replace("demo_session", SESSION)
    unusual = "event" in example or shape.name == "clock"
    assert agree(example.encode()) != unusual


def test_a_whole_frame_of_a_browser_is_usual():
    """All 37 features, with a time and a number; alone, in every wrapper, and in a batch."""
    sample: dict[Kind, Any] = {
        Kind.FLAG: 1,
        Kind.COUNT: 2,
        Kind.NUMBER: -12.25,
        Kind.CONFIDENCE: 0.93,
        Kind.TEXT: "forward",
    }
    frame = {name: sample[kind] for name, kind in VOCABULARY.items()} | {"timestamp": NOW}
    for message in (
        {"extracted_features": frame},
        {"frame_data": frame | {"session_id": SESSION}},
        {"type": "frame", "payload": frame},
        {"type": "frame", "frame": frame},
        {"session_id": SESSION, **frame},
        {"type": "batch", "frames": [frame] * MOST},
    ):
        assert agree(json.dumps({"seq": 7} | message).encode()), message
