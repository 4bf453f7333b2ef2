"""When a concern could first have been raised: a session judged as far as it had come, again and again."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import msgspec

from proctor.analysis.api import Group, Level
from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.fold import Job, ReportRequest, advance, report
from proctor.analysis.policy import Policy
from proctor.analysis.slot import Guard
from proctor.evaluation.metrics import lasting, overlap
from proctor.model import FrameId
from proctor.offline.recording import Recording
from proctor.simulator.scene import Span

STEP_SECONDS = 1.0
"""Between two looks at a running session."""

_AFTER_SECONDS = 30.0
_LATER_STEP_SECONDS = 10.0
"""How often it is looked at once an interval is over for that long."""

_TECHNICAL = "technical"


class Seen(msgspec.Struct):
    """What matters here of a finding."""

    category: str
    group: Group
    level: Level
    start_seconds: float
    end_seconds: float


class _Findings(msgspec.Struct):
    findings: list[Seen]


class _Identified(msgspec.Struct):
    frame_id: str


def concern_spans(findings: Sequence[Seen]) -> list[Span]:
    """Return when there was a concern that is about the candidate, as findings have it."""
    return [
        lasting(finding.start_seconds, finding.end_seconds)
        for finding in findings
        if finding.level is Level.CONCERN and _TECHNICAL not in (finding.category, finding.group)
    ]


class Judge(NamedTuple):
    """By what sessions are judged."""

    analyzers: tuple[LoadedPlugin, ...]
    policy: Policy
    guard: Guard = nullcontext
    """Entered around each call into an analyzer."""


def seconds_to_alert(
    recording: Recording, judge: Judge, intervals: Sequence[Span], concerns: Sequence[Span]
) -> list[float | None]:
    """Return for each interval how long after its start a report first had a concern that overlaps it.

    The session is folded as on a server, up to a second after the interval's start, up to two, and so on, and
    a report is made each time: what counts is not when a finding begins but when it could be known. How soon
    a server looks at the session comes on top. Intervals that no concern of the final report overlaps
    (`concerns`) have none; one that an earlier concern reaches into is told at once.
    """
    running = _Running(recording, judge)
    return [
        running.first_alert(interval) if any(overlap(interval, each) for each in concerns) else None
        for interval in intervals
    ]


class _Running:
    """A session as far as it has come; it only goes forward, unless it has to begin anew."""

    def __init__(self, recording: Recording, judge: Judge) -> None:
        self._recording = recording
        self._job = Job(tuple(loaded.plugin for loaded in judge.analyzers), judge.policy)
        ids = (msgspec.json.decode(frame, type=_Identified).frame_id for frame in recording.frames)
        times = [FrameId.parse(text).time_ms for text in ids]
        self._seconds = [(time - times[0]) / 1000 for time in times]
        self._guard = judge.guard
        self._state: bytes | None = None
        self._folded = 0

    def first_alert(self, interval: Span) -> float | None:
        for moment in self._moments(interval):
            if any(overlap(interval, concern) for concern in self._concerns(moment)):
                return round(min(moment, self._seconds[-1]) - interval.start, 3)
        return None

    def _moments(self, interval: Span) -> Iterator[float]:
        moment = interval.start
        while moment < self._seconds[-1]:
            late = moment > interval.end + _AFTER_SECONDS
            moment += _LATER_STEP_SECONDS if late else STEP_SECONDS
            yield moment

    def _concerns(self, until_seconds: float) -> list[Span]:
        """Return the concerns of a report on all frames up to a moment."""
        end = bisect_right(self._seconds, until_seconds)
        if end < self._folded:
            self._state, self._folded = None, 0
        if end > self._folded:
            new = self._recording.frames[self._folded : end]
            self._state = advance(self._job._replace(state=self._state, frames=new), self._guard)
            self._folded = end
        request = ReportRequest(self._recording.session, final=False, analysed_ms=0)
        made = report(request, self._job._replace(state=self._state), self._guard)
        return concern_spans(msgspec.json.decode(made, type=_Findings).findings)
