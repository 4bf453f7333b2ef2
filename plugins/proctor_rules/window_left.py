"""The exam's window or tab is not the one in front."""

from typing import Any

import msgspec

from proctor.accommodations import outside
from proctor.analysis.api import API_VERSION, Assessment, Calm, Finding, Group
from proctor.analysis.durations import Durations, grade, spread
from proctor.analysis.episodes import Episode, EpisodeLog, Hysteresis, not_listed
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import REST_SECONDS
from proctor_rules.limits import Events, Seconds, Times
from proctor_rules.moments import Counts, Moments, times

_LEFT = {"TAB_SWITCHED", "WINDOW_FOCUS_LOST"}
_FOCUS = 0.5  # what losing the focus is worth to losing sight of the exam
_PRESENT, _AWAY = Calm(seconds=REST_SECONDS), Calm(seconds=0.0, under_way=True)
_RETURNED = {"TAB_RETURNED", "WINDOW_FOCUS_RESTORED"}


class Sight(msgspec.Struct, array_like=True):
    """A frame that matters to an absence."""

    time_ms: int
    frame_id: str
    event: str = ""
    tab: bool = False
    """Another tab was in front; without it only the focus was lost, as to a notification."""


class Absences(msgspec.Struct):
    """Time between an event of leaving and one of coming back, however few frames come in between.

    Browsers report losing the tab and losing the focus separately: the first event begins an absence, the
    first return ends it. Where no return is reported (another departure of the same kind comes, or nothing up
    to the newest frame) an absence counts as no longer than `unreturned_seconds`.
    """

    log: EpisodeLog = msgspec.field(default_factory=EpisodeLog)
    left: Sight | None = None
    newest: Sight | None = None
    hidden: list[tuple[int, int]] = []
    """Breaks and exemptions: nothing is known of these times, in milliseconds since the first frame."""

    def fold(self, frames: FrameBatch, settings: Any) -> None:
        """Take in the next frames' events."""
        self.hidden = sorted({span for name in _LEFT | _RETURNED for span in frames.hidden(name)})
        for event in frames.events:
            sight = Sight(int(frames.milliseconds[event.place]), frames.ids[event.place], event.name)
            if event.name in _RETURNED:
                self._end(sight, settings, returned=True)
            elif event.name in _LEFT:
                if self.left is not None and self.left.event == event.name:
                    self._end(sight, settings, returned=False)
                self.left = self.left or sight
                self.left.tab |= event.name == "TAB_SWITCHED"
        self.newest = Sight(int(frames.milliseconds[-1]), frames.ids[-1])

    def so_far(self, settings: Any) -> list[Episode]:
        """All absences, one that still goes on up to the newest frame."""
        if self.left is None or self.newest is None:
            return self.log.kept
        longest = settings.unreturned_seconds
        return [*self.log.kept, *self._absences(self.left, self.newest, settings, longest)]

    def _end(self, sight: Sight, settings: Any, *, returned: bool) -> None:
        if self.left is not None:
            longest = None if returned else settings.unreturned_seconds
            for absence in self._absences(self.left, sight, settings, longest):
                self.log.add(absence)
        self.left = None

    def _absences(
        self, left: Sight, until: Sight, settings: Any, longest_seconds: float | None
    ) -> list[Episode]:
        """Return the parts of an absence of which something is known, less what is too short."""
        end = until.time_ms
        if longest_seconds is not None:
            end = min(end, left.time_ms + round(longest_seconds * 1000))
        ids = (left.frame_id, left.frame_id, until.frame_id)
        peak = 1.0 if left.tab else _FOCUS
        return [
            Episode(start, stop, stop - start, peak, *ids, frames=2)
            for start, stop in outside(left.time_ms, end, self.hidden)
            if stop - start >= settings.info_seconds * 1000
        ]


class WindowLeft:
    """Another tab or window in front, and leaving full screen."""

    api_version = API_VERSION
    title = "Exam window left"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Notifications take the focus for a moment; an absence is longer, or happens again."""

        info_seconds: Seconds = 1.0
        concern_seconds: Seconds = 10.0
        repeats: Times = 2
        focus_seconds: Seconds = 5.0
        """Losing only the focus for less is no repeat: notifications and dialogs take it, unasked."""
        unreturned_seconds: Seconds = 30.0
        """The most that an absence counts for if the browser never reports its end."""
        full_screen_concern_count: Events = 3

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        engine_seen: bool = False
        absences: Absences = msgspec.field(default_factory=Absences)
        full_screen: Moments = msgspec.field(default_factory=Moments)

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._durations = Durations(
            category="window",
            group=Group.WORKSPACE,
            signal="TAB_SWITCHED",
            hysteresis=Hysteresis(persist_seconds=settings.info_seconds),
            concern_seconds=settings.concern_seconds,
            repeats=settings.repeats,
        )
        self._full_screen = Counts(
            category="window",
            group=Group.WORKSPACE,
            signal="EXITED_FULLSCREEN",
            concern_count=settings.full_screen_concern_count,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        state.engine_seen |= bool(frames.events)
        state.absences.fold(frames, self._settings)
        state.full_screen.fold(frames, {"EXITED_FULLSCREEN"}, self._durations.realert_seconds)

    def assess(self, state: State) -> Assessment:
        """Report the absences. Whoever sends no events at all cannot be judged by them."""
        absences = state.absences.so_far(self._settings)
        strengths = self._full_screen.window_strengths(state.full_screen)
        for window, seconds in spread(absences).items():
            strengths[window] = max(
                grade(seconds, self._settings.concern_seconds), strengths.get(window, 0.0)
            )
        return Assessment(
            findings=sorted(self._findings(state, absences), key=lambda finding: finding.start_seconds),
            window_strengths=strengths,
            observed_windows=None if state.engine_seen else [],
            details=not_listed(state.absences.log, state.full_screen.log),
            calm=_PRESENT if state.absences.left is None else _AWAY,
        )

    def _findings(self, state: State, absences: list[Episode]) -> list[Finding]:
        brief = [one for one in absences if self._brief(one)]
        left = self._durations.findings(
            [one for one in absences if not self._brief(one)],
            lambda extent: f"Another tab or window was in front for {extent}",
        )
        once = msgspec.structs.replace(self._durations, repeats=0)
        left += once.findings(brief, lambda extent: f"The exam window was without the focus for {extent}")
        exits = self._full_screen.findings(
            state.full_screen, lambda count: f"Full screen was left {times(count)}"
        )
        return [*left, *exits]

    def _brief(self, absence: Episode) -> bool:
        return absence.peak == _FOCUS and absence.seconds < self._settings.focus_seconds
