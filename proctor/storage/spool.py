"""Spools: all frames of a running session as they came, in `spool/{session_id}_frames.{epoch}.jsonl`.

One stored frame per line, in any order; a frame may be there twice, and any number of processes may append.
A store that was emptied numbers a session's frames anew, so each of its epochs has a spool of its own.
A write that was cut short, by a crash or a full disk, leaves a torn line. It costs that line alone, because
each write begins by ending the line before it, and a line that is no whole frame is passed over.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from proctor.model import FrameId, check_session_id
from proctor.storage.frames import FrameMessage, frame_id_of
from proctor.storage.numbers import Numbers

_FOLDER, _MIDDLE, _ENDING = "spool", "_frames.", ".jsonl"
_OWNER_ONLY = 0o600


class _Identified(msgspec.Struct):
    frame_id: str


_decode = msgspec.json.Decoder(_Identified).decode


class _Line(NamedTuple):
    frame_id: FrameId
    offset: int
    length: int


def spool_path(directory: Path, session_id: str, epoch: str) -> Path:
    """Return where a session's spool of one epoch is, or will be; `directory` is that of the dumps."""
    return directory / _FOLDER / f"{check_session_id(session_id)}{_MIDDLE}{epoch}{_ENDING}"


def spooled_sessions(directory: Path) -> list[str]:
    """Return the ids of the sessions that have a spool. Blocks. Raises OSError."""
    return sorted({session_id for session_id, _ in _spools(directory)})


def spools_of(directory: Path, session_id: str) -> list[Path]:
    """Return the session's spools, of whichever epochs. Blocks. Raises OSError."""
    return [path for found_id, path in _spools(directory) if found_id == session_id]


def spooled_until_ms(directory: Path, session_id: str) -> int:
    """Return when a session's spools were last written to, in milliseconds since the epoch. Blocks.

    0 if there are none. Raises OSError.
    """
    latest = 0
    for path in spools_of(directory, session_id):
        with suppress(FileNotFoundError):
            latest = max(latest, path.stat().st_mtime_ns // 1_000_000)
    return latest


def remove_spools(directory: Path, session_id: str) -> None:
    """Delete a session's spools, if there are any. Blocks. Raises OSError."""
    for path in spools_of(directory, session_id):
        path.unlink(missing_ok=True)


def _spools(directory: Path) -> list[tuple[str, Path]]:
    with suppress(FileNotFoundError):
        return [
            (path.name.rpartition(_MIDDLE)[0], path)
            for path in (directory / _FOLDER).glob(f"[!.]*{_MIDDLE}*{_ENDING}")
        ]
    return []


class Stored(NamedTuple):
    """A message that was stored."""

    message: FrameMessage
    first_number: int
    """Arrival number of its first frame; the others' follow."""
    size: int
    """Bytes of memory that it takes, about."""
    epoch: str
    """Of the store that has it."""


class Spool:
    """One session's spool of one epoch, and which frames this process knows to be in it.

    Every method blocks, and raises OSError if the disk refuses. Not for several threads at a time.
    """

    def __init__(self, directory: Path, session_id: str, epoch: str) -> None:
        self.session_id = session_id
        self.epoch = epoch
        self.path = spool_path(directory, session_id, epoch)
        self.numbers = Numbers()
        """Arrival numbers of frames that need not be written any more."""
        self.latest_ms = 0
        """Event time of a frame that is among the last of the file."""
        self._seen_bytes = 0
        """The file up to here is in `numbers`."""

    def append(self, frames: Sequence[bytes], numbers: Iterable[tuple[int, int]]) -> None:
        """Write frames, at least one; `numbers` are the runs of their arrival numbers."""
        data = b"\n%b\n" % b"\n".join(frames)
        handle = self._opened()
        try:
            if os.write(handle, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            start = os.lseek(handle, 0, os.SEEK_CUR) - len(data)
        finally:
            os.close(handle)
        self.latest_ms = frame_id_of(frames[-1]).time_ms
        if start < self._seen_bytes:
            self._forget()  # somebody has taken the file away
        if start == self._seen_bytes:
            self._seen_bytes += len(data)
            for run in numbers:
                self.numbers.add(*run)

    def sync(self) -> None:
        """Wait until what was written survives a power cut."""
        for path, flags in ((self.path, os.O_WRONLY), (self.path.parent, os.O_RDONLY)):
            with suppress(FileNotFoundError):
                handle = os.open(path, flags)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    def refresh(self) -> None:
        """Find out what others have written, or that the file is gone."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self._forget()
            return
        with file:
            if file.seek(0, os.SEEK_END) < self._seen_bytes:
                self._forget()
            for line in whole_lines(file, self._seen_bytes):
                self.numbers.add(line.frame_id.number, line.frame_id.number + 1)
                self.latest_ms = line.frame_id.time_ms
                self._seen_bytes = line.offset + line.length

    def _forget(self) -> None:
        self.numbers, self._seen_bytes = Numbers(), 0

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            return os.open(self.path, flags, _OWNER_ONLY)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.path, flags, _OWNER_ONLY)


def append_all(work: Sequence[tuple[Spool, list[Stored]]]) -> tuple[list[Stored], OSError | None]:
    """Append to each spool. Blocks. Returns what is still to be done, and what is in the way."""
    left: list[Stored] = []
    failure: OSError | None = None
    for spool, some in work:
        frames = [
            b'%b%d-%d"}' % (head, time_ms, number)
            for message, first, *_ in some
            for number, (time_ms, head) in enumerate(message.frames, first)
        ]
        try:
            spool.append(frames, _runs(some))
        except OSError as error:
            left += some
            failure = error
    return left, failure


def _runs(some: Sequence[Stored]) -> Iterator[tuple[int, int]]:
    """Arrival numbers of the messages' frames; those of one connection mostly follow on each other."""
    start = end = some[0].first_number
    for message, first, *_ in some:
        if first != end:
            yield start, end
            start = first
        end = first + len(message.frames)
    yield start, end


def whole_lines(file: BinaryIO, offset: int) -> Iterator[_Line]:
    """Yield the whole frames from `offset` on; what is being written right now is none yet."""
    file.seek(offset)
    for line in file:
        if not line.endswith(b"\n"):
            return
        length = len(line)
        with suppress(msgspec.MsgspecError, ValueError):
            yield _Line(FrameId.parse(_decode(line).frame_id), offset, length)
        offset += length
