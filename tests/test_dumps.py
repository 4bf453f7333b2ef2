"""Dumps: written whole or not at all, and read back whoever wrote them."""

import errno
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from proctor.errors import InvalidRequest, Unavailable
from proctor.storage import dumps
from proctor.storage.dumps import read_dump, write_dump
from proctor.times import iso_from_ms

START_MS = 1_767_600_000_000


def stored(number: int, time_ms: int | None = None) -> bytes:
    time_ms = START_MS + number if time_ms is None else time_ms
    frame = {"face_present": 1, "timestamp": iso_from_ms(time_ms), "frame_id": f"{time_ms}-{number}"}
    return json.dumps(frame, separators=(",", ":")).encode()


async def stream(frames: list[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        await trio.lowlevel.checkpoint()
        yield frame


@pytest.mark.parametrize("count", [0, 1, 1000, 2001])
async def test_a_written_dump_is_a_json_array_with_one_frame_per_line(tmp_path, count):
    """The same from a list and from a stream, at and off the borders of chunks; it reads back as it was."""
    frames = [stored(number) for number in range(count)]
    path = await write_dump(tmp_path, "exam", frames)
    assert path == tmp_path / "exam_frames.json"
    text = path.read_bytes()
    assert json.loads(text) == [json.loads(frame) for frame in frames]
    assert text.split(b"\n")[1:-2] == [frame + b"," for frame in frames[:-1]] + frames[-1:]
    assert read_dump(path) == frames
    assert (await write_dump(tmp_path, "streamed", stream(frames))).read_bytes() == text


async def test_a_dump_is_for_its_owner_only_and_makes_its_directory(tmp_path):
    path = await write_dump(tmp_path / "some" / "where", "exam", [stored(0)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_dump_replaces_an_earlier_one(tmp_path):
    await write_dump(tmp_path, "exam", [stored(0), stored(1)])
    path = await write_dump(tmp_path, "exam", [stored(2)])
    assert read_dump(path) == [stored(2)]
    assert list(tmp_path.iterdir()) == [path]


async def test_a_cancelled_dump_leaves_nothing_behind(tmp_path):
    """Neither a part of the new dump nor anything else, and an earlier dump stays as it was."""
    path = await write_dump(tmp_path, "exam", [stored(0)])

    async def endless() -> AsyncIterator[bytes]:
        for number in range(5000):
            yield stored(number)
        assert len(list(tmp_path.iterdir())) == 2, "nothing was being written"
        scope.cancel()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        await write_dump(tmp_path, "exam", endless())
    assert scope.cancelled_caught
    assert list(tmp_path.iterdir()) == [path]
    assert read_dump(path) == [stored(0)]


async def test_a_failing_source_leaves_nothing_behind(tmp_path):
    async def failing() -> AsyncIterator[bytes]:
        yield stored(0)
        raise Unavailable("the store went away")

    with pytest.raises(Unavailable, match="went away"):
        await write_dump(tmp_path, "exam", failing())
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_unavailable_and_leaves_nothing_behind(tmp_path, monkeypatch):
    """Also when it shows only as the last bytes are synced."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(dumps.os, "fsync", full)
    with pytest.raises(Unavailable, match=r"exam_frames\.json: No space left") as caught:
        await write_dump(tmp_path, "exam", [stored(0)])
    assert isinstance(caught.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []


async def test_a_dump_is_on_disk_under_its_name_before_it_is_reported(tmp_path, monkeypatch):
    """The bytes are synced before the rename, and the directory after it."""
    steps = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def rename(part: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(part, target)

    monkeypatch.setattr(dumps.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    await write_dump(tmp_path, "exam", [stored(0)])
    assert steps == ["file", "rename", "directory"]


async def test_an_unwritable_directory_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot write the dump"):
        await write_dump(tmp_path / "file", "exam", [])


async def test_a_session_id_cannot_lead_out_of_the_directory(tmp_path):
    with pytest.raises(InvalidRequest):
        await write_dump(tmp_path / "dumps", "../exam", [])
    assert list(tmp_path.iterdir()) == []


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "other.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_frames_are_read_in_time_order_then_by_number(tmp_path):
    """Numbers are compared as numbers: 10 comes after 9."""
    frames = [stored(0, START_MS + 5), stored(10, START_MS), stored(9, START_MS), stored(1, START_MS + 2)]
    path = written(tmp_path, b"[" + b",".join(frames) + b"]")
    assert read_dump(path) == [frames[2], frames[1], frames[3], frames[0]]


def test_frames_without_ids_stay_as_they_stood_within_a_millisecond(tmp_path):
    elements = [{"timestamp": 2, "n": 0}, {"timestamp": 1.0, "n": 1}, {"timestamp": 1, "n": 2}]
    path = written(tmp_path, json.dumps(elements))
    assert [json.loads(frame)["n"] for frame in read_dump(path)] == [1, 2, 0]


def test_a_pretty_printed_dump_reads_as_a_compact_one(tmp_path):
    """Byte for byte, numbers as they were written, so that a reformatted dump gives the same digests."""
    frames = [stored(0), b'{"head_yaw":-1.50E-3,"note":"a b\\n","timestamp":"2026-01-05T09:00:00+01:00"}']
    pretty = (
        b'[\n  %b ,\n {\n"head_yaw" : -1.50E-3, "note": "a b\\n",\t"timestamp": "2026-01-05T09:00:00+01:00"}]'
    )
    assert sorted(read_dump(written(tmp_path, pretty % frames[0]))) == sorted(frames)


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_frame_to_a_line_reads_as_any_array_does(tmp_path, ending):
    """As dumps are written, and as other tools lay them out that way."""
    lines = b'[\n{"timestamp": 2, "note": "a, b"},\n  {"timestamp":1} ,\n{"timestamp":3}\n]' + ending
    frames = [b'{"timestamp":1}', b'{"timestamp":2,"note":"a, b"}', b'{"timestamp":3}']
    assert read_dump(written(tmp_path, lines)) == frames
    assert read_dump(written(tmp_path, lines.replace(b"{", b"{ ").replace(b",\n", b", "))) == frames


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", '1e999, "x": NaN'])
def test_numbers_that_json_does_not_have_become_null(tmp_path, token):
    path = written(tmp_path, f'[{{"gaze": {token}, "timestamp": 5}}]')
    (frame,) = read_dump(path)
    assert json.loads(frame)["gaze"] is None


def test_integers_of_any_size_survive_the_tolerant_way(tmp_path):
    path = written(tmp_path, '[{"gaze": NaN, "big": 123456789012345678901, "timestamp": 5}]')
    assert read_dump(path) == [b'{"gaze":null,"big":123456789012345678901,"timestamp":5}']


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no JSON array of frames: "),
        (b"[{}", "line 1 column"),
        (b'[\n{"timestamp": 1},\n', "line 3 column"),
        (b'[\n{"timestamp": 1},\n]\n', "line "),
        (b'[\n{"timestamp": 1}\n{"timestamp": 2}\n]\n', "line 3 column"),
        (b'[\n{"timestamp": 1} {"timestamp": 2}\n]\n', "line 2 column"),
        (b'[\n{"timestamp": 1}\n]\n]\n', "Extra data: line 4 column"),
        (b'[\n{"timestamp": 1, "note": "\xff"}\n]\n', "no JSON array of frames: .*utf-8"),
        (b'[\n{"timestamp": 1},\n7\n]\n', "element 1: Expected `object`, got `int`"),
        (b'{"timestamp": 1}', "Expected `array`, got `object`"),
        (b'{"timestamp": NaN}', "Expected `array`, got `object`"),
        (b'[{"timestamp": 1, "note": "\xff"}]', "no JSON array of frames: .*utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'[{"timestamp": 1}, 7]', "element 1: Expected `object`, got `int`"),
        (b'[{"timestamp": 1}, {"face_present": 1}]', "element 1: .*`timestamp`"),
        (b'[{"timestamp": null}]', r"element 0: .*\$\.timestamp"),
        (b'[{"timestamp": NaN}]', r"element 0: .*\$\.timestamp"),
        (b'[{"timestamp": 1, "note": "\\ud800"}]', "element 0: "),
        (b'[{"timestamp": "yesterday"}]', "element 0: .*yesterday"),
    ],
)
def test_anything_else_is_refused_with_its_place(tmp_path, content, complaint):
    path = written(tmp_path, content)
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        read_dump(path)
    assert str(path) in caught.value.detail


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"none\.json: No such file"):
        read_dump(tmp_path / "none.json")
