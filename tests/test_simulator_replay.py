"""Recordings: what is streamed again is what was recorded."""

import json

import pytest

from proctor.errors import InvalidRequest
from proctor.simulator import exam_taker
from proctor.simulator.replay import Recording, stored_frames
from proctor.times import iso_from_ms

START_MS = 1_767_603_600_000


@pytest.fixture
def dump(tmp_path):
    """Writes stored frames, given as JSON, to a dump, and returns its path."""

    def write(frames):
        path = tmp_path / "s1_frames.json"
        path.write_bytes(b"[" + b",".join(frames) + b"]")
        return path

    return write


def test_a_dump_replays_as_the_frames_that_were_sent(dump):
    """With its own times, events as events, and none of the keys that a server adds."""
    taker = exam_taker("switches-tabs", 1, 5)
    recording = Recording.load(dump(stored_frames(taker, "s1", START_MS)))
    assert list(recording.frames(START_MS)) == json.loads(json.dumps(list(taker.frames(START_MS))))
    assert (recording.kind, recording.start_ms, len(recording)) == ("s1", START_MS, len(list(taker.frames())))
    assert recording.seconds == pytest.approx(taker.seconds, abs=2)


def test_stored_frames_are_what_dumps_hold(dump):
    """Features, `event` where there is one, then the server's keys, `frame_id` last and in order."""
    taker = exam_taker("talks", 2, 3)
    frames = [json.loads(frame) for frame in stored_frames(taker, "s1", START_MS)]
    assert [list(frame)[-1] for frame in frames] == ["frame_id"] * len(frames)
    assert frames[0]["frame_id"] == f"{START_MS}-0"
    assert frames[0]["timestamp"] == frames[0]["received_at"] == iso_from_ms(START_MS)
    assert {frame["session_id"] for frame in frames} == {"s1"}
    talking = [frame for frame in frames if frame.get("event", {}).get("event") == "TALKING_DETECTED"]
    assert talking
    assert talking[0]["face_present"] == 1


def test_frames_are_replayed_in_the_order_of_their_times(dump):
    frames = list(stored_frames(exam_taker("honest-calm", 1, 1), "s1", START_MS))
    times = [frame["timestamp"] for frame in Recording.load(dump(reversed(frames))).frames(START_MS)]
    assert times == sorted(times)
    assert times[0] == START_MS


def test_a_recording_can_be_moved_in_time(dump):
    frames = list(stored_frames(exam_taker("honest-calm", 1, 1), "s1", START_MS))
    recording = Recording.load(dump(frames))
    own = [frame["timestamp"] for frame in recording.frames(START_MS)]
    assert [frame["timestamp"] - 5000 for frame in recording.frames(START_MS + 5000)] == own


def test_frames_of_other_tools_need_no_more_than_a_timestamp(dump):
    recording = Recording.load(dump([b'{"timestamp": 2000, "gazePoint_x": 1.5}', b'{"timestamp": 1000}']))
    assert recording.kind == "s1"
    assert list(recording.frames(1000)) == [{"timestamp": 1000}, {"gazePoint_x": 1.5, "timestamp": 2000}]


@pytest.mark.parametrize("content", [[], [b"1"], [b"{}"]])
def test_what_is_no_dump_is_refused(dump, content, tmp_path):
    with pytest.raises(InvalidRequest, match="s1_frames"):
        Recording.load(dump(content))
    with pytest.raises(InvalidRequest, match="missing"):
        Recording.load(tmp_path / "missing.json")
