"""Somebody else is in the picture."""

from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.baseline import Baseline
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes
from proctor.analysis.frames import FrameBatch
from proctor_rules.background import Habit, apart_from_background, joined
from proctor_rules.evidence import (
    FRAMES_MIN,
    Column,
    by_confidence,
    calm_while_absent,
    confident,
    either,
    or_events,
)
from proctor_rules.limits import Seconds, Share, Times

_BASELINE_SECONDS = 20
_DOUBTFUL = 30.0  # less confidence than this, 0 to 100, is none in any light


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
        usual_share: Share = 0.85
        """In light in which the detector is seldom as sure as that of the candidate alone, this share of its
        usual confidence will do."""
        repeats: Times = 2
        constant_share: Share = 0.15
        """What is seen in so many windows of each quarter of the session is background, not news."""
        constant_seconds: Seconds = 6.0
        """What lasts so long stands out even from a background that flickers."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        several: Episodes = msgspec.field(default_factory=Episodes)
        more: Episodes = msgspec.field(default_factory=Episodes)
        """More than two: somebody comes in where a second face hangs on the wall."""
        rated: bool = False
        """The detector gives confidences."""
        usual: Baseline = msgspec.field(default_factory=Baseline)
        """The detector's confidence in the candidate alone."""

    def __init__(self, settings: Any) -> None:
        self._share, self._lasting_seconds = settings.constant_share, settings.constant_seconds
        self._least, self._usual_share = settings.confidence_min * 100, settings.usual_share
        self._durations = Durations(
            category="multiple_faces",
            group=Group.PEOPLE,
            signal="no_of_face",
            hysteresis=by_confidence(settings),
            concern_seconds=settings.concern_seconds,
            repeats=settings.repeats,
            frames_min=FRAMES_MIN,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        count = frames["no_of_face"]
        confidence = self._confidence(state, frames["face_conf"], count, frames)
        hysteresis = self._durations.hysteresis
        several = either(count > 1, (count <= 1) | frames.faceless)
        evidence = or_events(frames, confident(several, confidence), {"MULTIPLE_FACES"})
        state.several.fold(frames, evidence, hysteresis)
        more = confident(either(count > 2, (count <= 2) | frames.faceless), confidence)
        state.more.fold(frames, more, hysteresis)
        state.rated |= bool(np.any((count > 1) & (confidence > 0)))

    def _confidence(self, state: State, stated: Column, count: Column, frames: FrameBatch) -> Column:
        """The detector's confidence, raised where it is usually lower than what it is to be."""
        alone = np.where((count == 1) & (stated > 0), stated, np.nan)
        usual, _ = state.usual.follow(frames, alone, samples_min=_BASELINE_SECONDS)
        wanted = np.clip(usual * self._usual_share, _DOUBTFUL, None)
        raised: Column = stated * np.fmax(self._least / wanted, 1.0)
        return raised

    def assess(self, state: State) -> Assessment:
        """Report when others were there."""
        return calm_while_absent(self._found(state), state.several, "no_of_face")

    def _found(self, state: State) -> Assessment:
        habit = Habit(self._share, self._lasting_seconds, rated=state.rated, objects=False)
        found = self._durations.assess(state.several, _several)
        several = apart_from_background(
            found, self._durations, state.several, habit, "A second face", _several
        )
        if several is found:
            return found
        more = apart_from_background(
            self._durations.assess(state.more, _more),
            self._durations,
            state.more,
            habit,
            "A third face",
            _more,
        )
        return joined(several, more)


def _several(extent: str) -> str:
    return f"More than one face was visible for {extent}"


def _more(extent: str) -> str:
    return f"More faces than usual were visible for {extent}"
