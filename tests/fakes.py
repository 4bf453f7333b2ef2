"""Stand-ins for what cannot be had, or not made to fail at will, in a test."""

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import trio

from proctor.accommodations import in_force
from proctor.analysis import fold
from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.fold import Job, ReportRequest
from proctor.analysis.policy import Policy
from proctor.errors import Unavailable
from proctor.model import ExamSession, FrameId
from proctor.offline.recording import Recording
from proctor.storage.frames import (
    FrameMessage,
    FramePage,
    FrameStore,
    Outcome,
    PartlyStored,
    Receipt,
    ResumePoint,
    frame_id_of,
)


class FakeSocket:
    """A WebSocket whose client is the test. What is said is heard a moment later, as from a network."""

    def __init__(self) -> None:
        self.gone = trio.Event()
        self._said: deque[list[bytes]] = deque()
        self._take: Callable[[bytes], None] | None = None
        self._listening = False
        self._flowing = True
        self._unsent: list[bytes] = []
        self._flushed: list[bytes] = []
        self._leaving = False
        self._trio = trio.lowlevel.current_trio_token()
        self._began = trio.current_time()
        self.received: list[tuple[float, dict[str, Any]]] = []
        """What the client read of the server, each with the time since it connected."""
        self.closed: tuple[int, str] | None = None

    def say(self, *messages: object) -> None:
        """Send messages; text and bytes as they are, anything else as JSON."""
        for message in messages:
            self.say_at_once(message)

    def say_at_once(self, *messages: object) -> None:
        """Send messages that the server reads in one go."""
        texts = [each if isinstance(each, (str, bytes)) else json.dumps(each) for each in messages]
        self._said.append([text if isinstance(text, bytes) else text.encode() for text in texts])
        self._trio.run_sync_soon(self._deliver)

    def leave(self) -> None:
        """Close from the client's side, after what was said."""
        self._said.append([])
        self._trio.run_sync_soon(self._deliver)

    def stall(self) -> None:
        """Stop reading what the server sends."""
        self._flowing = False

    def read_on(self) -> None:
        """Read what the server has sent, and what it sends from now on."""
        self._flowing = True
        self.flush()

    @property
    def unread(self) -> int:
        """How many of the client's messages the server has not taken."""
        return sum(map(len, self._said))

    @property
    def reading(self) -> bool:
        """Whether the server wants to hear more."""
        return self._listening

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """What the client read of one type."""
        return [message for _, message in self.received if message["type"] == kind]

    @property
    def told(self) -> list[tuple[float, dict[str, Any]]]:
        """What the client read but for what every client is told first."""
        return [(at, message) for at, message in self.received if message["type"] != "resume"]

    @property
    def acked(self) -> list[int]:
        """Sequence numbers in the order of their acknowledgement."""
        return [message["seq"] for message in self.messages("ack")]

    def receive(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self.resume()

    def pause(self) -> None:
        self._listening = False

    def resume(self) -> None:
        self._listening = True
        self._trio.run_sync_soon(self._deliver)

    def hear_out(self) -> None:
        pass

    def send(self, text: bytes) -> None:
        if self.closed is None:
            self._unsent.append(text)

    def flush(self) -> None:
        self._flushed += self._unsent
        self._unsent.clear()
        if self._flowing and not self.gone.is_set():
            at = trio.current_time() - self._began
            self.received += [(at, json.loads(text)) for text in self._flushed]
            self._flushed.clear()
            if self.closed is not None and not self._leaving:
                self._leaving = True
                self._trio.run_sync_soon(self.gone.set)  # a client that reads a close closes as well

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None and not self.gone.is_set():
            self.closed = code, reason
            self.flush()

    def _deliver(self) -> None:
        while self._said and self._take and not self.gone.is_set():
            if self.closed is None and not self._listening:
                break
            read = self._said.popleft()
            if not read:
                self.gone.set()
            for message in read:
                if self.closed is None:
                    self._take(message)
            self.flush()


class MemoryStore:
    """A frame store without threads, which a clock that jumps would run past."""

    kind = "embedded"
    durability = "volatile"

    def __init__(self) -> None:
        self.epoch = "epoch"
        self.commits: list[list[FrameMessage]] = []
        self.sealed: set[str] = set()
        self._frames: dict[str, list[tuple[FrameId, bytes]]] = {}
        self._digests: dict[tuple[str, int], bytes] = {}

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        await trio.lowlevel.checkpoint()
        self.commits.append(list(messages))
        return [self._take(message) for message in messages]

    async def read(
        self, session_id: str, after: FrameId | None = None, limit: int | None = None
    ) -> FramePage:
        await trio.lowlevel.checkpoint()
        assert after is None
        assert limit is None
        frames = sorted(self._frames.get(session_id, []))
        return FramePage([body for _, body in frames], len(frames))

    async def seal(self, session_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.sealed.add(session_id)

    async def resume_point(self, session_id: str) -> ResumePoint:
        await trio.lowlevel.checkpoint()
        last = 0
        while (session_id, last + 1) in self._digests:
            last += 1
        return ResumePoint(last or None, self.epoch, session_id in self.sealed)

    def _take(self, message: FrameMessage) -> Receipt:
        if message.session_id in self.sealed:
            return Receipt(Outcome.SEALED)
        if message.seq is not None:
            known = self._digests.get((message.session_id, message.seq))
            if known is not None:
                return Receipt(Outcome.DUPLICATE if known == message.digest else Outcome.CONFLICT)
            self._digests[message.session_id, message.seq] = message.digest
        frames = self._frames.setdefault(message.session_id, [])
        first = len(frames)
        for time_ms, head in message.frames:
            frame_id = FrameId(time_ms, len(frames))
            frames.append((frame_id, b'%b%b"}' % (head, str(frame_id).encode())))
        return Receipt(Outcome.STORED, first)


class Wrapped:
    """Passes on whatever a subclass does not change."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class SlowStore(Wrapped):
    """Takes `seconds` for each commit."""

    def __init__(self, inner: FrameStore | MemoryStore, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        await trio.sleep(self.seconds)
        return await self.inner.append(messages)


class FailingStore(Wrapped):
    """Answers nothing while it is down."""

    def __init__(self, inner: FrameStore | MemoryStore) -> None:
        super().__init__(inner)
        self.down = False
        self.attempts = 0

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        if self.down:
            raise Unavailable("frame store: down on purpose")
        return await self.inner.append(messages)


class HalfFailingStore(Wrapped):
    """Stores the messages of all sessions but the `refused` ones."""

    def __init__(self, inner: FrameStore | MemoryStore, *refused: str) -> None:
        super().__init__(inner)
        self.refused = set(refused)

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        refused = self.refused.copy()
        taken = [message for message in messages if message.session_id not in refused]
        stored = iter(await self.inner.append(taken))
        if len(taken) == len(messages):
            return list(stored)
        outcomes = [None if message.session_id in refused else next(stored) for message in messages]
        raise PartlyStored("frame store: refused on purpose", outcomes)


class BrokenStore(Wrapped):
    """Raises what no store should, once, after `healthy` commits."""

    def __init__(self, inner: FrameStore | MemoryStore, healthy: int = 0) -> None:
        super().__init__(inner)
        self.healthy = healthy

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        self.healthy -= 1
        if self.healthy == -1:
            raise RuntimeError("broken on purpose")
        return await self.inner.append(messages)


class ForgetfulStore(Wrapped):
    """A store in which frames from before a time have expired."""

    def __init__(self, inner: FrameStore, before_ms: int) -> None:
        super().__init__(inner)
        self.before_ms = before_ms

    async def read(
        self, session_id: str, after: FrameId | None = None, *limits: int | None, **named: int | None
    ) -> FramePage:
        page: FramePage = await self.inner.read(session_id, after, *limits, **named)
        kept = [frame for frame in page.frames if frame_id_of(frame).time_ms >= self.before_ms]
        return page._replace(frames=kept)


class InlineEngine:
    """The real analysis, without worker processes, which take a second to start."""

    def __init__(self, analyzers: Sequence[LoadedPlugin], policies: dict[str, Policy]) -> None:
        self._plugins = tuple(loaded.plugin for loaded in analyzers)
        self.policies = policies
        self.folded_frames = 0
        """How many frames were handed over to be folded into a state."""

    async def advance(self, state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> bytes:
        self.folded_frames += len(frames)
        job = self._job(state, frames, session)
        return await trio.to_thread.run_sync(fold.advance, job)

    async def report(
        self,
        state: bytes | None,
        tail: Sequence[bytes],
        session: ExamSession,
        *,
        final: bool,
        analysed_ms: int,
        stored: int = 0,
    ) -> bytes:
        job = self._job(state, tail, session)
        return await trio.to_thread.run_sync(
            fold.report, ReportRequest(session, final, analysed_ms, stored), job
        )

    async def judge(
        self, frames: Sequence[bytes], session: ExamSession, *, analysed_ms: int, stored: int = 0
    ) -> bytes:
        return await self.report(None, frames, session, final=True, analysed_ms=analysed_ms, stored=stored)

    def _job(self, state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> Job:
        granted = in_force(session.accommodations)
        return Job(self._plugins, self.policies[session.policy], state, list(frames), {}, granted)


def judged(
    recording: Recording, analyzers: Sequence[LoadedPlugin], policy: Policy, analysed_ms: int
) -> bytes:
    """What :func:`proctor.offline.judge.judge` says, without its worker processes."""
    granted = in_force(recording.session.accommodations)
    job = Job(tuple(loaded.plugin for loaded in analyzers), policy, None, recording.frames, {}, granted)
    return fold.report(ReportRequest(recording.session, final=True, analysed_ms=analysed_ms), job)


class Troubled(Wrapped):
    """Raises `error` from one method, the first `times` that it is called."""

    def __init__(self, inner: Any, method: str, times: int, error: Exception) -> None:
        super().__init__(inner)
        self.times = times
        self._method = method
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self.times > 0:
            self.times -= 1
            return self._fail
        return getattr(self.inner, name)

    async def _fail(self, *_args: Any, **_kwargs: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise self._error


class Held(Wrapped):
    """Stops for ever before or after one method does its work, as if the process had died there."""

    def __init__(self, inner: Any, method: str, *, after: bool) -> None:
        super().__init__(inner)
        self.reached = trio.Event()
        self._method = method
        self._after = after

    def __getattr__(self, name: str) -> Any:
        works = getattr(self.inner, name)
        if name != self._method:
            return works

        async def held(*args: Any, **kwargs: Any) -> None:
            if self._after:
                await works(*args, **kwargs)
            self.reached.set()
            await trio.sleep_forever()

        return held
