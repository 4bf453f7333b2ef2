"""Somebody talks."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Finding, Group, Level
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episode, Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import Column, either
from proctor_rules.limits import Seconds

_EVENTS = {"TALKING_DETECTED", "WHISPERING_DETECTED", "PROLONGED_MOUTH_MOVEMENT"}


class Speech:
    """Talking that the browser reports as events; some people read aloud to themselves."""

    api_version = API_VERSION
    title = "Talking"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Talking weighs more with the eyes off the screen."""

        info_seconds: Seconds = 8.0
        concern_seconds: Seconds = 20.0
        merge_seconds: Seconds = 4.0
        event_seconds: Seconds = 3.0
        """How long talking is taken to go on after an event, until the next."""
        aside_seconds: Seconds = 2.0
        """Talking while looking off the screen for so long is a concern."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        engine_seen: bool = False
        heard_ms: int | None = None
        """Time of the last event of talking."""
        talking: Episodes = msgspec.field(default_factory=Episodes)
        aside: Episodes = msgspec.field(default_factory=Episodes)

    def __init__(self, settings: Any) -> None:
        self._event_ms = round(settings.event_seconds * 1000)
        merge_seconds = settings.merge_seconds
        self._aside = Hysteresis(persist_seconds=settings.aside_seconds, merge_seconds=merge_seconds)
        self._durations = Durations(
            category="speech",
            group=Group.SPEECH,
            signal="TALKING_DETECTED",
            hysteresis=Hysteresis(persist_seconds=settings.info_seconds, merge_seconds=merge_seconds),
            concern_seconds=settings.concern_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        talking = self._talking(state, frames)
        on_screen = frames["gaze_on_script"]
        aside = either((talking > 0) & (on_screen == 0), (talking == 0) | (on_screen > 0))
        state.talking.fold(frames, talking, self._durations.hysteresis)
        state.aside.fold(frames, aside, self._aside)

    def assess(self, state: State) -> Assessment:
        """Report the talking."""
        assessment = self._durations.assess(state.talking, lambda extent: f"Talking went on for {extent}")
        aside = state.aside.so_far(self._aside)
        findings = [_with_gaze(finding, aside) for finding in assessment.findings]
        return msgspec.structs.replace(assessment, findings=findings)

    def _talking(self, state: State, frames: FrameBatch) -> Column:
        """1 for a while after each event, 0 otherwise, unknown until the browser has sent any event."""
        times = frames.milliseconds
        heard = np.full(len(frames), np.iinfo(np.int64).min // 2)
        known = np.full(len(frames), state.engine_seen)
        if state.heard_ms is not None:
            heard[0] = state.heard_ms
        for event in frames.events:
            known[event.place :] = True
            if event.name in _EVENTS:
                heard[event.place] = state.heard_ms = int(times[event.place])
        state.engine_seen = bool(known[-1])
        recent = times - np.maximum.accumulate(heard) < self._event_ms
        return either(recent & known, known)


def _with_gaze(finding: Finding, aside: list[Episode]) -> Finding:
    """Make talking a concern if the candidate looked off the screen meanwhile."""
    start_ms, end_ms = finding.start_seconds * 1000, finding.end_seconds * 1000
    if not any(episode.start_ms < end_ms and start_ms < episode.end_ms for episode in aside):
        return finding
    return msgspec.structs.replace(
        finding,
        level=Level.CONCERN,
        strength=max(finding.strength, 0.5),
        message=f"{finding.message}, with the gaze off the screen",
    )
