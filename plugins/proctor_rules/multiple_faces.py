"""Somebody else is in the picture."""

from typing import Any

import msgspec

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import by_confidence, confident, either, or_events
from proctor_rules.limits import Seconds, Share, Times


class MultipleFaces:
    """More than one face, seen with confidence where the browser gives one."""

    api_version = API_VERSION
    title = "More than one face"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Single frames with several faces are right 28 times in 100, above a confidence of 0.7 92 times."""

        info_seconds: Seconds = 1.5
        concern_seconds: Seconds = 3.0
        merge_seconds: Seconds = 2.0
        confidence_min: Share = 0.7
        repeats: Times = 2

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        several: Episodes = msgspec.field(default_factory=Episodes)

    def __init__(self, settings: Any) -> None:
        self._durations = Durations(
            category="multiple_faces",
            group=Group.PEOPLE,
            signal="no_of_face",
            hysteresis=by_confidence(settings),
            concern_seconds=settings.concern_seconds,
            repeats=settings.repeats,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        count = frames["no_of_face"]
        several = either(count > 1, (count <= 1) | frames.faceless)
        evidence = or_events(frames, confident(several, frames["face_conf"]), {"MULTIPLE_FACES"})
        state.several.fold(frames, evidence, self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report when others were there."""
        return self._durations.assess(
            state.several, lambda extent: f"More than one face was visible for {extent}"
        )
