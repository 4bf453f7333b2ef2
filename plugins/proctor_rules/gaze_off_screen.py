"""The candidate looks somewhere else than at the exam."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.baseline import Baseline
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import Column, either, or_events
from proctor_rules.limits import Pixels, Rate, Seconds, Spreads

_EVENTS = {"GAZE_AWAY", "PROLONGED_GAZE_AWAY", "EYES_OFF_SCREEN"}


class GazeOffScreen:
    """Looking off the screen, again and again or for long: people think with their eyes off it, too."""

    api_version = API_VERSION
    title = "Gaze off screen"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`decay` below 1 sees glances to and fro as one episode; so slowly are they forgotten."""

        info_seconds: Seconds = 5.0
        concern_seconds: Seconds = 15.0
        within_seconds: Seconds = 60.0
        merge_seconds: Seconds = 2.5
        decay: Rate = 0.25
        point_spreads: Spreads = 8.0
        """A gaze point so far from the usual one is off the screen, if the browser does not say."""
        point_pixels: Pixels = 40.0
        """Least spread of gaze points that is believed."""
        baseline_seconds: Seconds = 60.0

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        away: Episodes = msgspec.field(default_factory=Episodes)
        on_screen: Baseline = msgspec.field(default_factory=Baseline)
        x: Baseline = msgspec.field(default_factory=Baseline)
        y: Baseline = msgspec.field(default_factory=Baseline)

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._durations = Durations(
            category="gaze",
            group=Group.ATTENTION,
            signal="gaze_on_script",
            hysteresis=Hysteresis(
                persist_seconds=settings.info_seconds,
                merge_seconds=settings.merge_seconds,
                decay=settings.decay,
            ),
            concern_seconds=settings.concern_seconds,
            within_seconds=settings.within_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        on_screen = frames["gaze_on_script"]
        usual, _ = state.on_screen.follow(frames, on_screen, samples_min=self._settings.baseline_seconds)
        # Of somebody whose gaze is off the screen most of the time the camera knows nothing.
        flag = np.where(usual < 1, np.nan, either(on_screen == 0, on_screen > 0))
        far = np.fmax(
            self._distance(state.x, frames, "gazePoint_x"), self._distance(state.y, frames, "gazePoint_y")
        )
        evidence = np.where(np.isnan(flag), far >= 1, flag)
        evidence = np.where(np.isnan(flag) & np.isnan(far), np.nan, evidence)
        state.away.fold(frames, or_events(frames, evidence, _EVENTS), self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report the times of looking away."""
        return self._durations.assess(state.away, lambda extent: f"The gaze was off the screen for {extent}")

    def _distance(self, usual: Baseline, frames: FrameBatch, name: str) -> Column:
        """How far the gaze point is from the usual one, as a share of what counts as away."""
        points = frames[name]
        centre, spread = usual.follow(frames, points, samples_min=self._settings.baseline_seconds)
        limit = self._settings.point_spreads * np.maximum(spread, self._settings.point_pixels)
        distance: Column = np.abs(points - centre) / limit
        return distance
