"""Something is copied out of the exam or pasted into it."""

from typing import Any

import msgspec

from proctor.analysis.api import API_VERSION, Assessment, Calm, Group
from proctor.analysis.episodes import not_listed
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import REST_SECONDS
from proctor_rules.limits import Events, Seconds
from proctor_rules.moments import Counts, Moments, times


class Clipboard:
    """Attempts to copy or paste, which the browser reports as events; nobody knows what was copied."""

    api_version = API_VERSION
    title = "Copying and pasting"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """One attempt may be a habit of the fingers."""

        concern_count: Events = 3
        within_seconds: Seconds = 300.0
        join_seconds: Seconds = 30.0

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        engine_seen: bool = False
        pasted: Moments = msgspec.field(default_factory=Moments)
        copied: Moments = msgspec.field(default_factory=Moments)

    def __init__(self, settings: Any) -> None:
        self._join_seconds = settings.join_seconds
        self._pasted = self._counts(settings, "PASTE_ATTEMPT")
        self._copied = self._counts(settings, "COPY_ATTEMPT")

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        state.engine_seen |= bool(frames.events)
        state.pasted.fold(frames, {"PASTE_ATTEMPT"}, self._join_seconds)
        state.copied.fold(frames, {"COPY_ATTEMPT"}, self._join_seconds)

    def assess(self, state: State) -> Assessment:
        """Report the attempts. Whoever sends no events at all cannot be judged by them."""
        pasted = self._pasted.findings(state.pasted, lambda count: f"Pasting was attempted {times(count)}")
        copied = self._copied.findings(state.copied, lambda count: f"Copying was attempted {times(count)}")
        strengths = self._copied.window_strengths(state.copied)
        for window, strength in self._pasted.window_strengths(state.pasted).items():
            strengths[window] = max(strength, strengths.get(window, 0.0))
        return Assessment(
            findings=sorted([*pasted, *copied], key=lambda finding: finding.start_seconds),
            window_strengths=strengths,
            observed_windows=None if state.engine_seen else [],
            details=not_listed(state.pasted.log, state.copied.log),
            calm=Calm(seconds=REST_SECONDS),
        )

    def _counts(self, settings: Any, signal: str) -> Counts:
        return Counts(
            category="clipboard",
            group=Group.WORKSPACE,
            signal=signal,
            concern_count=settings.concern_count,
            within_seconds=settings.within_seconds,
        )
