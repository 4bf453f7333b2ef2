"""A phone is in the picture."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.background import Habit, apart_from_background
from proctor_rules.evidence import FRAMES_MIN, by_confidence, calm_while_absent, confident
from proctor_rules.limits import Seconds, Share, Times

_HELD = 0.1  # what a hand on something is worth: it may be a pen or a cup


class Phone:
    """A phone in most frames of a second or longer, seen with confidence where the browser gives one."""

    api_version = API_VERSION
    title = "Phone in view"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """A calculator or a dark mug is a phone to a detector for a frame or two, not for seconds."""

        info_seconds: Seconds = 1.0
        concern_seconds: Seconds = 3.0
        merge_seconds: Seconds = 2.0
        confidence_min: Share = 0.7
        repeats: Times = 2
        constant_share: Share = 0.15
        """What is seen in so many windows of each quarter of the session is background, not news."""
        constant_seconds: Seconds = 6.0
        """What lasts so long stands out even from a background that flickers."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        seen: Episodes = msgspec.field(default_factory=Episodes)
        held: Episodes = msgspec.field(default_factory=Episodes)
        """A hand on something: it sets windows apart and makes no finding."""
        rated: bool = False
        """The detector gives confidences."""

    def __init__(self, settings: Any) -> None:
        self._share, self._lasting_seconds = settings.constant_share, settings.constant_seconds
        self._held = Hysteresis(persist_seconds=settings.concern_seconds, enter=1.0, leave=_HELD)
        self._durations = Durations(
            category="phone",
            group=Group.DEVICE,
            signal="phone_present",
            hysteresis=by_confidence(settings),
            concern_seconds=settings.concern_seconds,
            repeats=settings.repeats,
            frames_min=FRAMES_MIN,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        present, confidence = frames["phone_present"], frames["phone_conf"]
        evidence = confident(present, confidence)
        state.rated |= bool(np.any((present > 0) & (confidence > 0)))
        state.seen.fold(frames, evidence, self._durations.hysteresis)
        held = frames["hand_obj_interaction"]
        state.held.fold(frames, np.where(held > 0, _HELD, held), self._held)

    def assess(self, state: State) -> Assessment:
        """Report when a phone was seen."""
        assessment = apart_from_background(
            self._durations.assess(state.seen, _describe),
            self._durations,
            state.seen,
            Habit(self._share, self._lasting_seconds, rated=state.rated, objects=True),
            "Something like a phone",
            _describe,
        )
        strengths = self._durations.window_strengths(state.held, [])
        for window, strength in assessment.window_strengths.items():
            strengths[window] = max(strength, strengths.get(window, 0.0))
        assessment = msgspec.structs.replace(assessment, window_strengths=strengths)
        return calm_while_absent(assessment, state.seen, "phone_present", "phone_conf")


def _describe(extent: str) -> str:
    return f"A phone was in view for {extent}"
