"""The head is turned away from where it usually is."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from proctor.analysis.api import API_VERSION, Assessment, Finding, Group, Level
from proctor.analysis.baseline import Baseline
from proctor.analysis.calm import sooner
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episode, Episodes, Hysteresis
from proctor.analysis.frames import UNKNOWN_TEXT, FrameBatch
from proctor_rules.evidence import HINT, Column, Flags, either, or_events
from proctor_rules.limits import Ratio, Seconds, Share, Spreads, Times
from proctor_rules.looks import Looks, Repetition, away, repeated, with_repeated

_HOLD_SECONDS = 5.0  # a pose that comes back by numbers alone is no change to a client
_NOT_ALWAYS = 0.995  # a flag that is always on sees nothing
_TRUSTED = 0.85  # a flag that is on so much of the time denies each of several turns to one place
_STEADY = 0.9  # share of the time


class HeadTurned:
    """Head pose against the candidate's own, for yaw and pitch are uncalibrated and depend on the camera."""

    api_version = API_VERSION
    title = "Head turned away"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """A turn is `turned_ratio` or `turned_spreads` from the usual pose, whichever is more."""

        info_seconds: Seconds = 1.0
        concern_seconds: Seconds = 15.0
        within_seconds: Seconds = 60.0
        apart_seconds: Seconds = 10.0
        """Looks with more than this between them do not add up: people think, look up, and think again."""
        merge_seconds: Seconds = 2.0
        turned_ratio: Ratio = 0.15
        turned_spreads: Spreads = 6.0
        pose_spreads: Spreads = 1.0
        """The browser's own word for the pose counts only if the numbers, where known, are so far off too."""
        baseline_seconds: Seconds = 20.0
        words_seconds: Seconds = 300.0
        """So long words are at least a hint; then only if the browser does call the candidate forward."""
        looks: Times = 8
        """So many turns to the same place within `looks_within_seconds` are a concern."""
        looks_within_seconds: Seconds = 200.0
        look_seconds: Seconds = 1.5
        flag_share: Share = 0.7
        """A flag that sees the gaze on the screen so much of the time, and not always, denies a turn: people
        sit back and lean."""
        posture_seconds: Seconds = 60.0
        """A head that stays turned for so long without coming back is a new posture."""

    class State(msgspec.Struct):
        """What the frames so far amount to."""

        turned: Episodes = msgspec.field(default_factory=Episodes)
        looks: Looks = msgspec.field(default_factory=Looks)
        yaw: Baseline = msgspec.field(default_factory=Baseline)
        pitch: Baseline = msgspec.field(default_factory=Baseline)
        on_screen: Baseline = msgspec.field(default_factory=partial(Baseline, rank=None))
        """Share of the time in which the flag sees the candidate look at the screen."""
        forward: Baseline = msgspec.field(default_factory=Baseline)
        seldom: Baseline = msgspec.field(default_factory=partial(Baseline, rank=0.9))
        """Falls to 0 for whom the browser calls forward less than a tenth of the time."""
        failing: Baseline = msgspec.field(default_factory=partial(Baseline, rank=0.9))
        """Falls to 0 for whom the browser can tell a pose less than a tenth of the time."""

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
        places, spreads = zip(
            self._turn(state.yaw, frames, "head_yaw"),
            self._turn(state.pitch, frames, "head_pitch"),
            strict=True,
        )
        turn = np.fmax(np.abs(places[0]), np.abs(places[1]))
        at_the_screen = self._at_the_screen(state, frames)
        looking = away((turn >= 1) & ~(at_the_screen >= _TRUSTED), ~np.isnan(turn))
        state.looks.fold(frames, looking, places, self._repetition)
        turn = np.where(turn < self._durations.hysteresis.leave, 0.0, turn)
        words = self._words(state, frames, np.fmax(*spreads) < self._settings.pose_spreads)
        turn = np.fmax(turn, words)
        turn = np.where(at_the_screen >= self._settings.flag_share, np.minimum(turn, HINT), turn)
        evidence = or_events(frames, turn, {"HEAD_TURNED"})
        state.turned.fold(frames, evidence, self._durations.hysteresis)

    def assess(self, state: State) -> Assessment:
        """Report the turns."""
        assessment = self._durations.assess(
            state.turned, lambda extent: f"The head was turned away for {extent}", state.yaw.centre
        )
        repetitions = repeated(
            state.looks,
            self._repetition,
            category="head",
            signal="head_yaw",
            what="The head turned",
            baseline=state.yaw.centre,
        )
        turns = state.turned.so_far(self._durations.hysteresis)
        findings = [self._posture(finding, turns) for finding in assessment.findings]
        findings = [self._measured(finding, state.yaw) for finding in with_repeated(findings, repetitions)]
        calm = sooner(assessment.calm, self._repetition.calm(state.looks))
        return msgspec.structs.replace(assessment, findings=findings, calm=calm)

    def _measured(self, finding: Finding, usual: Baseline) -> Finding:
        """Say what counted as turned, for whoever looks at the yaw."""
        if usual.spread is None:
            return finding
        limit = max(self._settings.turned_ratio, self._settings.turned_spreads * usual.spread)
        observed = msgspec.structs.replace(finding.observed, deviation=round(limit, 4))
        return msgspec.structs.replace(finding, observed=observed)

    def _posture(self, finding: Finding, turns: Sequence[Episode]) -> Finding:
        """Make no concern of a head that hardly came back in all the time: nobody works like that."""
        start_ms, end_ms = finding.start_seconds * 1000, finding.end_seconds * 1000
        turned_ms = sum(turn.on_ms for turn in turns if start_ms <= turn.start_ms < end_ms)
        length_ms = end_ms - start_ms
        if length_ms < self._settings.posture_seconds * 1000 or turned_ms < _STEADY * length_ms:
            return finding
        return msgspec.structs.replace(
            finding,
            level=Level.INFO,
            strength=min(finding.strength, 0.5),
            message=f"{finding.message}, as in a new posture",
        )

    def _at_the_screen(self, state: State, frames: FrameBatch) -> Column:
        """Where the browser sees the gaze on the screen: how often it does; NaN elsewhere or if always."""
        on_screen = frames["gaze_on_script"]
        share, _ = state.on_screen.follow(frames, on_screen, samples_min=self._settings.baseline_seconds)
        return np.where((on_screen > 0) & (share <= _NOT_ALWAYS), share, np.nan)

    def _turn(self, usual: Baseline, frames: FrameBatch, name: str) -> tuple[Column, Column]:
        """How far the head is from its usual pose: in turns, with a sign, and in spreads."""
        values = frames[name]
        one_face = np.where(frames["no_of_face"] > 1, np.nan, values)
        seconds = self._settings.baseline_seconds
        centre, spread = usual.follow(frames, one_face, samples_min=seconds)
        off = values - centre
        limit = np.maximum(self._settings.turned_ratio, self._settings.turned_spreads * spread)
        return off / limit, np.abs(off) / np.maximum(spread, 1e-6)

    def _words(self, state: State, frames: FrameBatch, near: Flags) -> Column:
        """What the browser's word for the pose is worth, where `near` says that the numbers deny it."""
        poses = frames.text("head_pose")
        forward = np.array([pose == "forward" for pose in poses], dtype=np.bool_)
        told = np.array([pose is not None for pose in poses], dtype=np.bool_)
        said = either(forward, told)
        usual, _ = state.forward.follow(frames, said, samples_min=self._settings.baseline_seconds)
        seldom, _ = state.seldom.follow(frames, said, samples_min=self._settings.words_seconds)
        turned = np.where((usual == 1) & ~near, 1.0, HINT)
        worth = np.where(forward, 0.0, np.where(seldom == 0, np.nan, turned))
        return np.where(told, worth, self._lost(state, frames, told))

    def _lost(self, state: State, frames: FrameBatch, told: Flags) -> Column:
        """A hint where the browser sees a face and, unlike at other times, cannot tell its pose."""
        stated = np.array([pose == UNKNOWN_TEXT for pose in frames.values("head_pose")], dtype=np.bool_)
        lost = stated & (frames["face_present"] > 0)
        failing, _ = state.failing.follow(
            frames, either(told, lost), samples_min=self._settings.baseline_seconds
        )
        return np.where(lost & (failing != 0), HINT, np.nan)
