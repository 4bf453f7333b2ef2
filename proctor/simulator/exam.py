"""One exam from start to report: what a candidate's browser and the institution do together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proctor.errors import Unavailable
from proctor.simulator.api import ExamApi
from proctor.simulator.client import ExamClock, ExamStream
from proctor.simulator.people import Truth
from proctor.simulator.scene import Span
from proctor.simulator.tally import Tally


class Exam(Protocol):
    """What there is to stream: a simulated exam taker or a recording."""

    @property
    def kind(self) -> str:
        """What the summary calls it."""
        ...

    @property
    def seconds(self) -> float:
        """How long the exam takes in its own time."""
        ...

    @property
    def truth(self) -> Sequence[Truth]:
        """What is known about it."""
        ...

    @property
    def outages(self) -> Sequence[Span]:
        """When it has no connection, in seconds since it began."""
        ...

    def frames(self, start_ms: int) -> Iterator[dict[str, Any]]:
        """Yield features with `timestamp` or engine events with `ts`, in order; the first at `start_ms`."""
        ...


@dataclass(frozen=True)
class Candidate:
    """Who takes which exam under which names."""

    session_id: str
    candidate_id: str
    exam_id: str
    exam: Exam
    policy: str | None = None
    start_ms: int | None = None
    """What the candidate's clock showed at the first frame; None for a clock that is right."""


@dataclass
class Outcome:
    """What came of one session. Complete once `take_exam` returned it."""

    candidate: Candidate
    tally: Tally
    report: dict[str, Any] | None = None

    @property
    def stored(self) -> int | None:
        """How many frames the final report was made from; None if there is no report that says so."""
        frames = (self.report or {}).get("session_info", {}).get("total_frames")
        return frames if isinstance(frames, int) else None

    @property
    def missing(self) -> int:
        """Acknowledged frames that the final report does not know of."""
        return 0 if self.stored is None else max(0, self.tally.frames_acknowledged - self.stored)

    @property
    def ok(self) -> bool:
        """Whether everything was sent, acknowledged, judged, and nothing is missing."""
        return self.tally.complete and self.report is not None and not self.missing

    def verdict(self, name: str) -> Any:
        """Return a field of the report's verdict, None without one."""
        return (self.report or {}).get("verdict", {}).get(name)


async def take_exam(
    api: ExamApi, candidate: Candidate, tally: Tally, *, speed: float = 1.0, window: int = 64
) -> Outcome:
    """Start the session, stream the exam, end the session and fetch its report.

    Trouble with the server does not raise; it is the tally's `failure`.
    """
    outcome = Outcome(candidate, tally)
    exam = candidate.exam
    try:
        url = await api.start(
            candidate.session_id, candidate.candidate_id, candidate.exam_id, candidate.policy
        )
        clock = ExamClock(exam.seconds, speed, candidate.start_ms)
        stream = ExamStream(url, clock, tally, window=window, outages=exam.outages)
        await stream.run(exam.frames(clock.start_ms))
        await api.end(candidate.session_id)
        outcome.report = await api.analyze(candidate.session_id)
    except Unavailable as failure:
        tally.failure = tally.failure or failure.detail
    return outcome
