"""The candidate looks somewhere else than at the exam."""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Group
from proctor.analysis.baseline import Baseline
from proctor.analysis.calm import sooner
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import HINT, Column, Flags, either, or_events
from proctor_rules.limits import Pixels, Rate, Seconds, Share, Spreads, Times
from proctor_rules.looks import Looks, Repetition, away, repeated, with_repeated

_EVENTS = {"GAZE_AWAY", "PROLONGED_GAZE_AWAY", "EYES_OFF_SCREEN"}
_PIXEL = 1.0  # points are whole pixels to many browsers
_HOLD_SECONDS = 10.0  # a point that comes back to the screen need not be a change to a client
_SELDOM = 0.1  # whom the flag sees on the screen no more than this, it does not see


class GazeOffScreen:
    """Looking off the screen, again and again or for long: people think with their eyes off it, too.

    The gaze point is compared with the candidate's own, for the browser's flag is uncalibrated: it takes a
    camera beside the screen for looking aside, and the rim of a screen for the screen. Flag and point
    together are evidence; a point far off is so by itself; a flag that the point denies is a hint.
    """

    api_version = API_VERSION
    title = "Gaze off screen"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """With a `decay` of a half, whoever looks away in a third of the time is at it all the while."""

        info_seconds: Seconds = 5.0
        concern_seconds: Seconds = 15.0
        within_seconds: Seconds = 60.0
        apart_seconds: Seconds = 10.0
        """Looks with more than this between them do not add up: people think, look up, and think again."""
        merge_seconds: Seconds = 2.5
        decay: Rate = 0.5
        point_spreads: Spreads = 3.03
        """A gaze point so far from the usual one is away: one in a hundred of normally spread points is."""
        point_pixels: Pixels = 40.0
        """Least spread of gaze points by which points alone are judged."""
        flag_spreads: Spreads = 1.5
        """The flag counts only with points, where known, so far off: from the middle of a screen that is read
        evenly, the nearest edge is 1.35 away."""
        baseline_seconds: Seconds = 60.0
        looks: Times = 8
        """So many looks to the same place within `looks_within_seconds` are a concern."""
        looks_within_seconds: Seconds = 200.0
        look_seconds: Seconds = 1.5
        look_spreads: Spreads = 2.5
        """A look by points alone is so far from the usual point, in the candidate's own spreads."""
        trusted_share: Share = 0.85
        """A flag that is on so much of the time denies a look; a camera's that is not on so often cannot."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        away: Episodes = msgspec.field(default_factory=Episodes)
        looks: Looks = msgspec.field(default_factory=Looks)
        on_screen: Baseline = msgspec.field(default_factory=lambda: Baseline(rank=None))
        """Share of the time in which the flag sees the candidate look at the screen."""
        x: Baseline = msgspec.field(default_factory=Baseline)
        y: Baseline = msgspec.field(default_factory=Baseline)
        boxed: bool = False
        """Where the face is was known: then gaze points are taken from there, since people move."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._durations = Durations(
            category="gaze",
            group=Group.ATTENTION,
            signal="gaze_on_script",
            hysteresis=Hysteresis(
                persist_seconds=settings.info_seconds,
                merge_seconds=settings.merge_seconds,
                enter=1.0,
                leave=0.7,
                decay=settings.decay,
                hint=HINT,
                hold_seconds=_HOLD_SECONDS,
            ),
            concern_seconds=settings.concern_seconds,
            within_seconds=settings.within_seconds,
            apart_seconds=settings.apart_seconds,
        )

        self._repetition = Repetition(
            looks=settings.looks,
            within_seconds=settings.looks_within_seconds,
            shortest_seconds=settings.look_seconds,
        )

    def fold(self, state: State, frames: FrameBatch) -> None:
        """Take in the next frames."""
        distance = self._distance(state, frames)
        usual = self._usual(state, frames)
        flag = self._flag(frames, usual, distance.own < self._settings.flag_spreads)
        state.looks.fold(frames, self._looking(frames, usual, distance.own), distance.place, self._repetition)
        far = np.minimum(distance.believed / self._settings.point_spreads, 1.0)
        centred = np.array([direction == "center" for direction in frames.text("gaze_direction")])
        nothing = centred | (far < self._durations.hysteresis.leave)
        evidence = np.fmax(flag, np.where(nothing & ~np.isnan(far), 0.0, far))
        state.away.fold(frames, or_events(frames, evidence, _EVENTS), self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report the times of looking away."""
        assessment = self._durations.assess(
            state.away, lambda extent: f"The gaze was off the screen for {extent}"
        )
        repetitions = repeated(
            state.looks, self._repetition, category="gaze", signal="gaze_on_script", what="The gaze went"
        )
        return msgspec.structs.replace(
            assessment,
            findings=with_repeated(assessment.findings, repetitions),
            calm=sooner(assessment.calm, self._repetition.calm(state.looks)),
        )

    def _usual(self, state: State, frames: FrameBatch) -> Column:
        seconds = self._settings.baseline_seconds
        return state.on_screen.follow(frames, frames["gaze_on_script"], samples_min=seconds)[0]

    def _flag(self, frames: FrameBatch, usual: Column, near: Flags) -> Column:
        """What the browser's word is worth, where `near` says that the gaze point denies it."""
        on_screen = frames["gaze_on_script"]
        # Of somebody whose gaze is off the screen most of the time the camera knows little.
        off = np.where((usual > 0.5) & ~near, 1.0, HINT)
        return np.where(usual <= _SELDOM, np.nan, off * either(on_screen == 0, on_screen > 0))

    def _looking(self, frames: FrameBatch, usual: Column, own: Column) -> Column:
        """Whether this may be a look beside the screen, by flag and point, or by the one that can tell."""
        on_screen, placed = frames["gaze_on_script"], ~np.isnan(own)
        trusted = (usual >= self._settings.trusted_share) & ~np.isnan(on_screen)
        flagged = (on_screen == 0) & (usual > 0.5)
        far = own >= np.where(flagged, self._settings.flag_spreads, self._settings.look_spreads)
        looking = np.where(trusted, flagged & (far | ~placed), far)
        return away(looking, trusted | placed, ~trusted)

    def _distance(self, state: State, frames: FrameBatch) -> "_Distance":
        """How far gaze points are from the usual one."""
        middles = [frames[f"face_{axis}"] + frames[f"face_{size}"] / 2 for axis, size in ("xw", "yh")]
        boxed = np.logical_or.accumulate(~np.isnan(middles[0])) | state.boxed
        state.boxed = bool(boxed[-1])
        several = frames["no_of_face"] > 1
        sides = []
        for axis, middle, usual in zip("xy", middles, (state.x, state.y), strict=True):
            points = frames[f"gazePoint_{axis}"] - np.where(boxed, middle, 0.0)
            points = np.where(several, np.nan, points)
            centre, spread = usual.follow(frames, points, samples_min=self._settings.baseline_seconds)
            off, floor = points - centre, self._settings.point_pixels
            sides.append((off / np.maximum(spread, floor), off / np.maximum(spread, _PIXEL)))
        (x_believed, x_own), (y_believed, y_own) = sides
        return _Distance(np.hypot(x_believed, y_believed), np.hypot(x_own, y_own), (x_own, y_own))


class _Distance(NamedTuple):
    """In the plane, in standard deviations; NaN where the point or its usual place is unknown."""

    believed: Column
    """In no smaller ones than points alone are judged by."""
    own: Column
    """In the candidate's own, however small."""
    place: tuple[Column, Column]
    """The same by axis, with a sign."""
