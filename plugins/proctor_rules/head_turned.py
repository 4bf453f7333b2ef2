"""The head is turned away from where it usually is."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.baseline import Baseline
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import Column, either, or_events
from proctor_rules.limits import Ratio, Seconds, Spreads


class HeadTurned:
    """Head pose against the candidate's own, for yaw and pitch are uncalibrated and depend on the camera."""

    api_version = API_VERSION
    title = "Head turned away"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """A turn is `turned_ratio` or `turned_spreads` from the usual pose, whichever is more."""

        info_seconds: Seconds = 1.0
        concern_seconds: Seconds = 15.0
        within_seconds: Seconds = 60.0
        merge_seconds: Seconds = 2.0
        turned_ratio: Ratio = 0.15
        turned_spreads: Spreads = 6.0
        pose_spreads: Spreads = 1.0
        """The browser's own word for the pose counts only if the numbers, where known, are so far off too."""
        baseline_seconds: Seconds = 20.0

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        turned: Episodes = msgspec.field(default_factory=Episodes)
        yaw: Baseline = msgspec.field(default_factory=Baseline)
        pitch: Baseline = msgspec.field(default_factory=Baseline)
        forward: Baseline = msgspec.field(default_factory=Baseline)

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._durations = Durations(
            category="head",
            group=Group.ATTENTION,
            signal="head_yaw",
            hysteresis=Hysteresis(
                persist_seconds=settings.info_seconds,
                merge_seconds=settings.merge_seconds,
                enter=1.0,
                leave=0.7,
            ),
            concern_seconds=settings.concern_seconds,
            within_seconds=settings.within_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        turns, spreads = zip(
            self._turn(state.yaw, frames, "head_yaw"),
            self._turn(state.pitch, frames, "head_pitch"),
            strict=True,
        )
        turn = np.fmax(*turns)
        pose = self._pose(state.forward, frames)
        pose = np.where(np.fmax(*spreads) < self._settings.pose_spreads, 0.0, pose)
        evidence = or_events(frames, np.fmax(turn, pose), {"HEAD_TURNED"})
        state.turned.fold(frames, evidence, self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report the turns."""
        return self._durations.assess(
            state.turned, lambda extent: f"The head was turned away for {extent}", state.yaw.centre
        )

    def _turn(self, usual: Baseline, frames: FrameBatch, name: str) -> tuple[Column, Column]:
        """How far the head is from its usual pose: as a share of a turn, and in spreads."""
        values = frames[name]
        one_face = np.where(frames["no_of_face"] > 1, np.nan, values)
        seconds = self._settings.baseline_seconds
        centre, spread = usual.follow(frames, one_face, samples_min=seconds)
        off = np.abs(values - centre)
        limit = np.maximum(self._settings.turned_ratio, self._settings.turned_spreads * spread)
        return off / limit, off / np.maximum(spread, 1e-6)

    def _pose(self, usual: Baseline, frames: FrameBatch) -> Column:
        """What the browser calls the pose; it says nothing about somebody whom it seldom calls forward."""
        poses = frames.text("head_pose")
        forward = np.array([pose == "forward" for pose in poses], dtype=np.bool_)
        known = np.array([pose is not None for pose in poses], dtype=np.bool_)
        centre, _ = usual.follow(frames, either(forward, known), samples_min=self._settings.baseline_seconds)
        return np.where(centre < 1, np.nan, either(known & ~forward, forward))
