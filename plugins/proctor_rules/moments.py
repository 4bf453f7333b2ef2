"""Events without a duration: what counts is how many there were, and how close together."""

from collections.abc import Callable, Collection

import msgspec

from proctor.analysis.api import WINDOW_SECONDS, Finding, Group, Level, Observed
from proctor.analysis.episodes import Episode, EpisodeLog
from proctor.analysis.frames import FrameBatch


class Moments(msgspec.Struct):
    """Some of the browser engine's events, those close together joined. Part of an analyzer's state."""

    log: EpisodeLog = msgspec.field(default_factory=EpisodeLog)
    current: Episode | None = None

    def fold(self, frames: FrameBatch, names: Collection[str], join_seconds: float) -> None:
        """Take in the events of these names; one joins those that began up to `join_seconds` before it."""
        for event in frames.events:
            if event.name in names:
                self._add(int(frames.milliseconds[event.place]), frames.ids[event.place], join_seconds)

    def so_far(self) -> list[Episode]:
        """Groups of events in order of time; `frames` is how many events are in each."""
        return self.log.kept if self.current is None else [*self.log.kept, self.current]

    def _add(self, time_ms: int, frame_id: str, join_seconds: float) -> None:
        if self.current is not None and time_ms - self.current.start_ms <= join_seconds * 1000:
            self.current.end_ms, self.current.last_id = time_ms, frame_id
            self.current.frames += 1
            return
        if self.current is not None:
            self.log.add(self.current)
        self.current = Episode(time_ms, time_ms, 0, 1.0, frame_id, frame_id, frame_id)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What such events amount to."""

    category: str
    group: Group
    signal: str
    concern_count: int
    within_seconds: float = 300.0
    """`concern_count` events in so long are a concern."""

    def findings(self, moments: Moments, describe: Callable[[int], str]) -> list[Finding]:
        """Make a finding of every group of events; `describe` makes its sentence from their number."""
        groups = moments.so_far()
        return [self._finding(group, self._recent(groups, group), describe(group.frames)) for group in groups]

    def window_strengths(self, moments: Moments) -> dict[int, float]:
        """Grade the windows that the events fall in, half at `concern_count`."""
        groups = moments.so_far()
        return {
            window: self._strength(self._recent(groups, group))
            for group in groups
            for window in range(_window(group.start_ms), _window(group.end_ms) + 1)
        }

    def _recent(self, groups: list[Episode], latest: Episode) -> int:
        since = latest.start_ms - self.within_seconds * 1000
        return sum(group.frames for group in groups if since <= group.start_ms <= latest.start_ms)

    def _strength(self, count: int) -> float:
        return round(count / (count + self.concern_count), 4)

    def _finding(self, group: Episode, recent: int, message: str) -> Finding:
        return Finding(
            category=self.category,
            group=self.group,
            level=Level.CONCERN if recent >= self.concern_count else Level.INFO,
            start_seconds=group.start_ms / 1000,
            end_seconds=group.end_ms / 1000,
            strength=self._strength(recent),
            message=message,
            frame_ids=(group.first_id, group.worst_id, group.last_id),
            observed=Observed(
                signal=self.signal, value=float(recent), threshold=float(self.concern_count), unit="events"
            ),
        )


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _window(time_ms: int) -> int:
    return time_ms // round(WINDOW_SECONDS * 1000)
