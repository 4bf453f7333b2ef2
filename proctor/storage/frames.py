"""The frame store: what it promises, whichever of the two implementations keeps it.

A stored frame is one JSON object: the features as they were taken in, then `session_id`, `timestamp`,
`received_at` and, always last, `frame_id`. The store gives out frame ids, because only the store sees the
frames of every process and can number a session's frames without gaps.
"""

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from itertools import islice
from typing import NamedTuple, Protocol

import msgspec

from proctor.errors import Unavailable
from proctor.model import FrameId
from proctor.settings import Settings

_MESSAGE_BYTES, _FRAME_BYTES = 500, 150
"""What a message and each of its frames cost in memory beside the JSON (measured with tracemalloc)."""
MEMORY_SECONDS = 24 * 3600
"""What is known of a session besides its frames outlives them by so long, unless it is cleared."""


class Outcome(Enum):
    """What became of one message of a group commit."""

    STORED = auto()
    DUPLICATE = auto()
    """Its `seq` was stored before, with the same payload: acknowledge again, nothing was written."""
    CONFLICT = auto()
    """Its `seq` was stored before with another payload, which stands."""
    SEALED = auto()
    """The session takes no more frames; nothing was written."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What `append` says of one message."""

    outcome: Outcome
    number: int = -1
    """Arrival number of its first frame, the others follow; -1 unless it was stored."""


class ResumePoint(NamedTuple):
    """Where a client that comes back goes on."""

    last_seq: int | None
    """The highest n such that the messages numbered 1 to n are all stored; None without number 1."""
    epoch: str
    """Names the store's content. Another one than before means that what was stored before is gone."""
    sealed: bool = False
    """The session takes no more frames; remembered for a day after its frames, also if it was erased."""


class PartlyStored(Unavailable):
    """The store refused some sessions' parts of a group commit and wrote none of those; the others stand."""

    def __init__(self, detail: str, receipts: list[Receipt | None]) -> None:
        super().__init__(detail)
        self.receipts = receipts
        """One per message, in order; None for one that was refused and may be tried again."""


class UnnumberedFrame(NamedTuple):
    """A frame on its way into the store."""

    time_ms: int
    """Event time, milliseconds since the epoch."""
    head: bytes
    """The frame's JSON up to where its id belongs: `{…,"frame_id":"`. The store adds `<ms>-<n>"}`."""


class FrameMessage(msgspec.Struct, frozen=True, gc=False):
    """One client message: stored whole or not at all."""

    session_id: str
    frames: tuple[UnnumberedFrame, ...]
    seq: int | None = None
    """The client's number for this message, 0 to 2**53 - 1; unique in its session."""
    digest: bytes = b""
    """Tells two payloads under one `seq` apart; 8 bytes where `seq` is given."""

    @property
    def memory_bytes(self) -> int:
        """What it takes of the memory while it waits, about."""
        size = _MESSAGE_BYTES
        for frame in self.frames:
            size += _FRAME_BYTES + len(frame.head)
        return size


class FramePage(NamedTuple):
    """Stored frames in time order, i.e. by (time_ms, number)."""

    frames: list[bytes]
    """JSON objects."""
    stored: int
    """How many frames this session ever stored, also those that have expired since."""
    more: bool = False
    """A limit was reached, so that others may follow."""


class Turn(NamedTuple):
    """A session's analysis state, taken by one process at a time to fold frames into it."""

    token: int
    """From 1, and higher with each turn; only the latest may save."""
    state: bytes | None
    """What was saved last."""


def page_of(
    frames: Iterable[bytes], stored: int, limit: int | None = None, limit_bytes: int | None = None
) -> FramePage:
    """Take frames until a limit of :meth:`FrameStore.read` is reached, and no further."""
    taken: list[bytes] = []
    room = math.inf if limit_bytes is None else limit_bytes
    for frame in islice(frames, limit):
        taken.append(frame)
        room -= len(frame)
        if room <= 0:
            break
    return FramePage(taken, stored, room <= 0 or len(taken) == limit)


def frame_id_of(frame: bytes) -> FrameId:
    """Return the id of a stored frame, which its JSON ends with."""
    return FrameId.parse(frame[frame.rindex(b":") + 2 : -2].decode())


class FrameStore(Protocol):
    """Frames of running sessions, kept for `frame_buffer_retention_seconds` after they were stored.

    Every call may be cancelled; a cancelled write may or may not have happened, never by halves. A store
    that cannot answer raises :class:`proctor.errors.Unavailable` and has written nothing it confirmed.
    """

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        """Store many sessions' messages in one durable group commit; one receipt per message, in order.

        When this returns, everything stored survives a kill of this process. A session's frames are
        numbered 0, 1, 2 … in the order of their arrival, across all processes.

        Raises:
            PartlyStored: some sessions' messages were refused. A caller that repeats all of them stores those
                without a seq again; one that repeats what has no receipt does not.
        """
        ...

    async def read(
        self,
        session_id: str,
        after: FrameId | None = None,
        limit: int | None = None,
        limit_bytes: int | None = None,
    ) -> FramePage:
        """Return the session's frames in time order, from just after `after`.

        They are at most `limit`, and no more after the one with which they reach `limit_bytes`.
        """
        ...

    async def resume_point(self, session_id: str) -> ResumePoint:
        """Return how far the session's numbered messages are stored without a gap. Also updates `epoch`."""
        ...

    async def seal(self, session_id: str) -> None:
        """Refuse every later append to this session, from any process. Idempotent; outlives `clear`."""
        ...

    async def clear(self, session_id: str) -> None:
        """Delete the session's frames, seqs, count and analysis state, at once or not at all. Idempotent."""
        ...

    async def take_state(self, session_id: str, seconds: float) -> Turn | None:
        """Take the session's analysis state, to go on with it; None while somebody else has it.

        Who does not give it back within `seconds` has died or hangs, and loses it to whoever asks next.
        """
        ...

    async def save_state(
        self, session_id: str, state: bytes, token: int, *, keep_seconds: float = 0.0
    ) -> bool:
        """Keep the state, and give it back or hold it for `keep_seconds` more.

        The state does not expire with the frames; `clear` deletes it.

        Returns:
            False, with nothing written, if somebody has taken or cleared it since `token` was given out.
        """
        ...

    async def give_back(self, session_id: str, token: int) -> None:
        """Let others take the state, as it was saved last. For an earlier `token` it does nothing."""
        ...

    async def load_state(self, session_id: str) -> bytes | None:
        """Return what `save_state` kept last, whoever has taken it."""
        ...

    async def claim(self, name: str, seconds: float, holder: str = "") -> float:
        """Take `name` for so long, across processes. Returns 0 when taken, else seconds until it is free.

        Its `holder`, if one is named, may take it again, for longer or, to give it up, for 0 seconds.
        """
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    @property
    def epoch(self) -> str:
        """The store's epoch as of the last `append` or `resume_point`; see `ResumePoint`."""
        ...

    @property
    def kind(self) -> str:
        """`embedded` or `redis`."""
        ...

    @property
    def durability(self) -> str:
        """What an acknowledged frame survives: `power`, `process` or `volatile`."""
        ...


@asynccontextmanager
async def open_frame_store(settings: Settings) -> AsyncIterator[FrameStore]:
    """Open the store that the settings name: Redis if there is a `redis_url`, else the embedded one."""
    # Imported here so that a deployment loads only the client it uses.
    if settings.redis_url:
        from proctor.storage.redis_frames import open_redis_frames

        async with open_redis_frames(settings) as store:
            yield store
    else:
        from proctor.storage.sqlite_frames import open_sqlite_frames

        async with open_sqlite_frames(settings) as embedded:
            yield embedded
