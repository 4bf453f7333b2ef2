"""Somebody talks."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Calm, Finding, Group, Level
from proctor.analysis.baseline import Baseline
from proctor.analysis.calm import sooner
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episode, Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.background import everywhere
from proctor_rules.evidence import REST_SECONDS, Column, either
from proctor_rules.limits import Seconds, Share

_BASELINE_SECONDS = 20
_FLAG_SHARE = 0.5
_EVENTS = {"TALKING_DETECTED", "WHISPERING_DETECTED", "PROLONGED_MOUTH_MOVEMENT"}


class Speech:
    """Talking that the browser reports as events; some people read aloud to themselves."""

    api_version = API_VERSION
    title = "Talking"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Talking weighs more with the eyes off the screen, and less of whom it is a habit to read aloud."""

        info_seconds: Seconds = 8.0
        concern_seconds: Seconds = 20.0
        merge_seconds: Seconds = 4.0
        event_seconds: Seconds = 3.0
        """How long talking is taken to go on after an event, until the next."""
        aside_seconds: Seconds = 3.0
        """Talking while looking off the screen for so long …"""
        aside_share: Share = 0.5
        """… and so much of the time is a concern."""
        habit_share: Share = 0.15
        """Who talks in so many windows of each quarter of the session reads aloud."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        engine_seen: bool = False
        heard_ms: int | None = None
        """Time of the last event of talking."""
        talking: Episodes = msgspec.field(default_factory=Episodes)
        aside: Episodes = msgspec.field(default_factory=Episodes)
        on_screen: Baseline = msgspec.field(default_factory=lambda: Baseline(rank=None))
        """Share of the time in which the flag sees the candidate look at the screen."""

    def __init__(self, settings: Any) -> None:
        self._event_ms = round(settings.event_seconds * 1000)
        merge_seconds = settings.merge_seconds
        self._aside_share, self._habit_share = settings.aside_share, settings.habit_share
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
        usual, _ = state.on_screen.follow(frames, on_screen, samples_min=_BASELINE_SECONDS)
        # A flag that is off most of the time says more about the camera.
        off = (on_screen == 0) & (usual > _FLAG_SHARE)
        aside = either((talking > 0) & off, (talking == 0) | ~np.isnan(on_screen))
        state.talking.fold(frames, talking, self._durations.hysteresis)
        state.aside.fold(frames, aside, self._aside)

    def assess(self, state: State) -> Assessment:
        """Report the talking."""
        assessment = self._durations.assess(state.talking, lambda extent: f"Talking went on for {extent}")
        aside = state.aside.so_far(self._aside)
        aloud = everywhere(state.talking, self._habit_share)
        findings = [self._with_gaze(finding, aside, aloud=aloud) for finding in assessment.findings]
        heard = state.talking.newest is not None and state.talking.newest.evidence > 0
        # Only events begin to be evidence of talking.
        calm = sooner(assessment.calm, self._aside_calm(state)) if heard else Calm(seconds=REST_SECONDS)
        return msgspec.structs.replace(assessment, findings=findings, calm=calm)

    def _aside_calm(self, state: State) -> Calm:
        """Return how long it takes until talking is a concern because of the gaze."""
        both = ((state.talking, self._durations.hysteresis), (state.aside, self._aside))
        missing = [
            rule.persist_seconds - (0.0 if episodes.current is None else episodes.current.seconds)
            for episodes, rule in both
        ]
        return Calm(seconds=max(*missing, 0.0), under_way=state.aside.current is not None)

    def _with_gaze(self, finding: Finding, aside: list[Episode], *, aloud: bool) -> Finding:
        """Make talking a concern if the candidate looked off the screen meanwhile, else no reading aloud."""
        seconds = sum(_overlap(finding, episode) for episode in aside)
        length = finding.end_seconds - finding.start_seconds
        if seconds >= max(self._aside.persist_seconds, self._aside_share * length):
            return msgspec.structs.replace(
                finding,
                level=Level.CONCERN,
                strength=max(finding.strength, 0.5),
                message=f"{finding.message}, with the gaze off the screen",
            )
        if not aloud:
            return finding
        return msgspec.structs.replace(finding, level=Level.INFO, strength=min(finding.strength, 0.5))

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


def _overlap(finding: Finding, episode: Episode) -> float:
    """Seconds of evidence in both, spread evenly over the episode."""
    both = min(finding.end_seconds * 1000, episode.end_ms) - max(
        finding.start_seconds * 1000, episode.start_ms
    )
    return max(0.0, both) / 1000 * episode.on_ms / max(episode.end_ms - episode.start_ms, 1)
