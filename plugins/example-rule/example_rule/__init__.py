"""A rule of one's own: the candidate sits too far from the camera for the other rules to see much."""

from typing import Annotated

import msgspec
import numpy as np

from proctor.analysis import (
    API_VERSION,
    Assessment,
    Baseline,
    Durations,
    Episodes,
    FrameBatch,
    Group,
    Hysteresis,
)

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]


class TooFar:
    """A face much narrower than the candidate's usually is."""

    api_version = API_VERSION
    title = "Far from the camera"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a policy may set in `[rules.too_far]`."""

        info_seconds: Seconds = 10.0
        concern_seconds: Seconds = 60.0
        width_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
        """A face narrower than this share of the usual width is far away."""
        baseline_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
        """How long a candidate must have been seen before there is a usual width."""

    class State(msgspec.Struct):
        """What is remembered between batches of frames."""

        usual_width: Baseline = msgspec.field(default_factory=Baseline)
        far: Episodes = msgspec.field(default_factory=Episodes)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._durations = Durations(
            category="distance",
            group=Group.PRESENCE,
            signal="face_w",
            hysteresis=Hysteresis(persist_seconds=settings.info_seconds, merge_seconds=3.0),
            concern_seconds=settings.concern_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Compare each frame's face with the usual one; without either, nothing is known."""
        width = frames["face_w"]
        usual, _ = state.usual_width.follow(frames, width, samples_min=self._settings.baseline_seconds)
        limit = usual * self._settings.width_share
        evidence = np.where(np.isnan(width) | np.isnan(limit), np.nan, width < limit)
        state.far.fold(frames, evidence, self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report when the candidate sat far away, and in its own section what is usual for this candidate."""
        usual = state.usual_width.centre
        assessment = self._durations.assess(
            state.far, lambda extent: f"The candidate sat far from the camera for {extent}", baseline=usual
        )
        details = {} if usual is None else {"usual_width": usual, "unit": "px"}
        return msgspec.structs.replace(assessment, details=details)
