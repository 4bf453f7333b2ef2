"""Spools: every frame that was appended is read back once, in time order, whatever happens to the file."""

import errno
import itertools
import json
import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import InvalidRequest
from proctor.model import FrameId
from proctor.storage import spool as spool_module
from proctor.storage.frames import FrameMessage, UnnumberedFrame
from proctor.storage.numbers import Numbers
from proctor.storage.recording import Recording
from proctor.storage.spool import (
    Spool,
    Stored,
    append_all,
    remove_spools,
    spool_path,
    spooled_sessions,
)

T0 = 1_767_600_000_000


def frame(number: int, time_ms: int | None = None) -> bytes:
    return b'{"note":"ab\\n","frame_id":"%d-%d"}' % (T0 + number if time_ms is None else time_ms, number)


def append(spool: Spool, *numbers: int) -> None:
    spool.append([frame(number) for number in numbers], [(number, number + 1) for number in numbers])


def recorded(directory: Path) -> list[int]:
    """Arrival numbers of the frames that a session is read back as."""
    with Recording(spool_path(directory, "exam", "e1"), 0) as recording:
        frames = recording.page().frames
    assert all(json.loads(each)["note"] == "ab\n" for each in frames)
    return [FrameId.parse(json.loads(each)["frame_id"]).number for each in frames]


def known(spool: Spool, below: int) -> list[int]:
    return [number for number in range(below) if number in spool.numbers]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10))), st.integers(0, 60))
def test_numbers_are_a_set_in_few_runs(runs, below):
    numbers, model = Numbers(), set()
    for start, length in runs:
        numbers.add(start, start + length)
        model.update(range(start, start + length))
    assert [number for number in range(-1, 60) if number in numbers] == sorted(model)
    assert len(numbers) == len(model)
    lacking = [number for start, end in numbers.lacking(below) for number in range(start, end)]
    assert lacking == [number for number in range(below) if number not in model]
    runs = list(numbers)
    assert all(start < end for start, end in runs)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(runs))


def test_frames_are_read_in_time_order_each_once(tmp_path):
    """However often and in whatever order they were appended; within a millisecond by number, as a number."""
    spool = Spool(tmp_path, "exam", "e1")
    frames = [frame(number, T0 + number // 20) for number in range(40)]
    for some in (frames[20:], frames[:30], frames[5:6]):
        spool.append(some[::-1], [])
    with Recording(spool.path, 50) as recording:
        assert recording.page().frames == frames
        assert (len(recording), recording.stored) == (40, 50)
        recording.add([frame(40, T0 - 1), frame(41)])
        assert recording.page(limit=2).frames == [frame(40, T0 - 1), frames[0]]
        assert recording.page(FrameId(T0 + 1, 38)).frames == [frames[39], frame(41)]


def test_only_the_owner_may_read_it(tmp_path):
    spool = Spool(tmp_path / "dumps", "exam", "e1")
    append(spool, 0)
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.path.parent.stat().st_mode) == 0o700


def test_a_torn_line_costs_itself_alone(tmp_path):
    """Wherever it was cut off, and though others go on to write behind it."""
    for cut in range(1, len(frame(2)) + 2):
        spool = Spool(tmp_path, "exam", "e1")
        append(spool, 0, 1, 2)
        os.truncate(spool.path, spool.path.stat().st_size - cut)
        assert recorded(tmp_path) == [0, 1]  # without its end a line may still be under way
        other = Spool(tmp_path, "exam", "e1")
        append(other, 3)
        found = recorded(tmp_path)
        assert found == ([0, 1, 2, 3] if cut == 1 else [0, 1, 3])
        other.refresh()
        assert known(other, 5) == found
        remove_spools(tmp_path, "exam")


def test_what_is_no_frame_is_passed_over(tmp_path):
    spool = Spool(tmp_path, "exam", "e1")
    append(spool, 0)
    with spool.path.open("ab") as file:
        file.write(
            b'\n\xff\n[]\n{"frame_id":7}\n{"frame_id":"x"}\n{"a":{"frame_id":"1-1"}}\n{"frame_id":"5-5"\n'
        )
    append(spool, 1)
    assert recorded(tmp_path) == [0, 1]


def test_two_processes_append_to_one_file(tmp_path):
    """Each knows at once what it wrote itself, and when it looks, what the other did."""
    ours, theirs = Spool(tmp_path, "exam", "e1"), Spool(tmp_path, "exam", "e1")
    append(ours, 0)
    assert known(ours, 9) == [0]
    append(theirs, 1, 2)
    append(ours, 3)
    for spool in (ours, theirs):
        spool.refresh()
        assert known(spool, 9) == [0, 1, 2, 3]


def test_writers_at_the_same_time_tear_nothing(tmp_path):
    children = []
    for first in range(3):
        child = os.fork()
        if child == 0:
            spool = Spool(tmp_path, "exam", "e1")
            for number in range(first, 3000, 3):
                append(spool, number)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert recorded(tmp_path) == list(range(3000))


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_was_taken_away_is_noticed(tmp_path, again):
    """By the next append as by the next look, so that what is missing can be written again."""
    spool = Spool(tmp_path, "exam", "e1")
    append(spool, *range(100))
    remove_spools(tmp_path, "exam")
    if again:
        append(spool, 100)
    spool.refresh()
    assert known(spool, 200) == ([100] if again else [])


def test_a_full_disk_is_told_and_what_fits_is_kept(tmp_path):
    """The limit is the process's own, on the size of files."""
    spool = Spool(tmp_path, "exam", "e1")
    append(spool, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.path.stat().st_size + 2 * len(frame(0)), hard))
    try:
        for _ in range(2):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - which one it is, the next line says
                append(spool, 1, 2, 3)
            assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert recorded(tmp_path) == [0, 1]
    append(spool, 2, 3)
    spool.refresh()
    assert recorded(tmp_path) == known(spool, 9) == [0, 1, 2, 3]


def test_one_session_that_cannot_be_written_keeps_no_other_from_it(tmp_path):
    bad, good = Spool(tmp_path, "bad", "e1"), Spool(tmp_path, "exam", "e1")
    bad.path.mkdir(parents=True)
    message = FrameMessage("", (UnnumberedFrame(T0 + 7, b'{"note":"ab\\n","frame_id":"'),))
    work = [(bad, [Stored(message, 7, 0, "e1")]), (good, [Stored(message, 7, 0, "e1")])]
    left, failure = append_all(work)
    assert (left, type(failure)) == ([Stored(message, 7, 0, "e1")], IsADirectoryError)
    assert recorded(tmp_path) == known(good, 9) == [7]
    assert good.path.read_bytes() == b"\n%b\n" % frame(7)


def test_what_was_written_is_synced_with_its_folder(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(spool_module.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    spool = Spool(tmp_path, "exam", "e1")
    append(spool, 0)
    spool.sync()
    assert synced == [spool.path.stat().st_ino, spool.path.parent.stat().st_ino]
    remove_spools(tmp_path, "exam")
    spool.sync()  # nothing is left to do, and that is no trouble


def test_spools_are_listed_by_session_and_removed_for_good(tmp_path):
    assert spooled_sessions(tmp_path) == []
    for session_id in ("b", "a.b", "_"):
        append(Spool(tmp_path, session_id, "e1"), 0)
    assert spooled_sessions(tmp_path) == ["_", "a.b", "b"]
    for _ in range(2):
        remove_spools(tmp_path, "b")
    assert spooled_sessions(tmp_path) == ["_", "a.b"]
    with pytest.raises(InvalidRequest):
        spool_path(tmp_path, "../exam", "e1")


def test_what_only_spools_of_earlier_epochs_have_is_counted(tmp_path):
    """By content, wherever it has been placed since; as often as it was sent, but not as often as stored."""

    def stored(spool: Spool, number: int, feature: str, stamp: int) -> None:
        line = (
            b'{"x":"%b","session_id":"exam","timestamp":"t%d","client_timestamp":%d,"received_at":"r%d",'
            b'"frame_id":"%d-%d"}'
        )
        place = number + int(spool.epoch[1:])
        spool.append([line % (feature.encode(), place, stamp, place, T0 + place, number)], [])

    first, second, third = (Spool(tmp_path, "exam", epoch) for epoch in ("e10", "e20", "e30"))
    for number, (feature, stamp) in enumerate([("a", 1), ("a", 1), ("a", 2), ("b", 3), ("c", 4)]):
        stored(first, number, feature, stamp)
    stored(first, 4, "c", 4)
    for number, (feature, stamp) in enumerate([("a", 1), ("c", 4), ("d", 5)]):
        stored(second, number, feature, stamp)
    stored(third, 0, "a", 1)
    with Recording(third.path, 1) as recording:
        recording.leave_out([])
        assert recording.left_out == 0
        recording.leave_out([first.path, second.path])
        assert (recording.left_out, recording.stored) == (5, 1), "a 1, a 2, b 3, c 4, d 5"
