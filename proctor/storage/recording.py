"""Recordings: whole sessions read back, from their spools and what else there is of them."""

import os
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import trio

from proctor.model import FrameId
from proctor.storage.frames import FramePage, frame_id_of, page_of
from proctor.storage.numbers import Numbers
from proctor.storage.spool import whole_lines

_CHUNK_FRAMES, _CHUNK_BYTES = 1000, 2**20


class Recording:
    """A session's frames in time order, each once: those of its spool, and others that were given.

    Keeps where each frame is, some 32 bytes, not the frames. To be closed by leaving its `with` block.
    """

    def __init__(self, path: Path, stored: int) -> None:
        """Read the spool through, if there is one; `stored` is the store's count. Blocks. Raises OSError."""
        self.numbers = Numbers()
        self.latest_ms = 0
        self.left_out = 0
        """Frames that were stored before the store was emptied, and were not sent again."""
        self._counted = stored
        self._others: list[bytes] = []
        columns = array("q")
        self._handle = -1
        with suppress(FileNotFoundError):
            self._handle = os.open(path, os.O_RDONLY)
            with os.fdopen(self._handle, "rb", closefd=False) as file:
                for (time_ms, number), offset, length in whole_lines(file, 0):
                    self.numbers.add(number, number + 1)
                    columns.extend((time_ms, number, offset, length - 1))
                    self.latest_ms = time_ms
        self._frames = _in_order(np.array(columns, dtype=np.int64).reshape(-1, 4))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; idempotent."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def stored(self) -> int:
        """How many frames the session ever stored; more than there are here if some are lost."""
        return max(self._counted, len(self))

    def add(self, frames: Sequence[bytes]) -> None:
        """Take in frames that the spool does not have."""
        rows = []
        for frame in frames:
            time_ms, number = frame_id_of(frame)
            self.numbers.add(number, number + 1)
            rows.append((time_ms, number, -1, len(self._others)))
            self._others.append(frame)
        if rows:
            self._frames = _in_order(np.concatenate((self._frames, np.array(rows, dtype=np.int64))))

    def leave_out(self, older: Iterable[Path]) -> None:
        """Count what only spools of earlier epochs have. Blocks. Raises OSError."""
        before: Counter[int] = Counter()
        for path in older:
            with Recording(path, 0) as recording:
                before |= recording._contents()
        if before:
            self.left_out = (before - self._contents()).total()

    def _contents(self) -> Counter[int]:
        """Frames as their clients sent them, of which some may be alike."""
        return Counter(map(_content, self._from(0)))

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield all frames, some of them in memory."""
        page = FramePage([], 0, more=True)
        while page.more:
            after = frame_id_of(page.frames[-1]) if page.frames else None
            page = await trio.to_thread.run_sync(self.page, after, _CHUNK_FRAMES, _CHUNK_BYTES)
            for frame in page.frames:
                yield frame

    def page(
        self, after: FrameId | None = None, limit: int | None = None, limit_bytes: int | None = None
    ) -> FramePage:
        """Return frames as :meth:`FrameStore.read` does. Blocks. Raises OSError."""
        frames = self._from(len(self) - self.following(after))
        return page_of(frames, self.stored, limit, limit_bytes)

    def following(self, after: FrameId | None) -> int:
        """Return how many frames come after that one."""
        if after is None:
            return len(self)
        start, end = np.searchsorted(self._frames[:, 0], [after.time_ms, after.time_ms + 1])
        passed = start + np.searchsorted(self._frames[start:end, 1], after.number, "right")
        return len(self) - int(passed)

    def _from(self, place: int) -> Iterator[bytes]:
        for start in range(place, len(self), _CHUNK_FRAMES):
            for _, _, offset, length in self._frames[start : start + _CHUNK_FRAMES].tolist():
                yield self._others[length] if offset < 0 else os.pread(self._handle, length, offset)


def _content(frame: bytes) -> int:
    """Return a digest of what the client sent; what the server adds to it comes last."""
    features, _, ours = frame.rpartition(b'"session_id":"')
    _, _, stamp = ours.partition(b'"client_timestamp":')
    return hash((features, stamp.rpartition(b',"received_at":')[0]))


def _in_order(
    frames: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Sort rows by time and number, and of rows with both equal keep one."""
    frames = frames[np.lexsort((frames[:, 1], frames[:, 0]))]
    again = (frames[1:, :2] == frames[:-1, :2]).all(axis=1)
    return frames[np.concatenate(([True], ~again))] if len(frames) else frames
