"""Nobody is in front of the camera."""

from typing import Any

import msgspec

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import calm_while_absent, either, or_events
from proctor_rules.limits import Seconds, Times


class NoFace:
    """No face in the picture, for longer than a detector that blinks or a candidate who sneezes."""

    api_version = API_VERSION
    title = "No face in view"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Browser detectors miss faces often (of single frames without one, nine in ten had one)."""

        info_seconds: Seconds = 3.0
        concern_seconds: Seconds = 10.0
        merge_seconds: Seconds = 1.0
        repeats: Times = 3
        repeats_from_seconds: Seconds = 5.0
        """Shorter losses are no repeats: in dim light a face is lost for a second or three all the time."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        absent: Episodes = msgspec.field(default_factory=Episodes)

    def __init__(self, settings: Any) -> None:
        self._durations = Durations(
            category="no_face",
            group=Group.PRESENCE,
            signal="face_present",
            hysteresis=Hysteresis(
                persist_seconds=settings.info_seconds, merge_seconds=settings.merge_seconds
            ),
            concern_seconds=settings.concern_seconds,
            repeats=settings.repeats,
            repeats_from_seconds=settings.repeats_from_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        present, count = frames["face_present"], frames["no_of_face"]
        # Where the two disagree somebody may well be there.
        face = (present > 0) | (count > 0)
        evidence = either(frames.faceless & ~face, face)
        evidence = or_events(frames, evidence, {"NO_FACE", "PERSON_LEFT"})
        state.absent.fold(frames, evidence, self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report the absences."""
        assessment = self._durations.assess(state.absent, lambda extent: f"No face was visible for {extent}")
        return calm_while_absent(assessment, state.absent, "face_present", "no_of_face")
