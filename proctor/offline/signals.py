"""A session's signals as lines for a plot: few enough points to draw, and silence left blank."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proctor.analysis.fold import FRAMES_AT_ONCE
from proctor.analysis.frames import FrameBatch

POINTS_MAX = 6_000
"""Most points of a line. Where there are more, it is drawn through the extremes of so many parts of it."""


class Plan(NamedTuple):
    """Signals that share a diagram."""

    title: str
    names: tuple[str, ...]
    steps: bool = False
    """They keep a value until the next frame, instead of moving towards it."""


PLANS = (
    Plan("Faces", ("face_present", "no_of_face"), steps=True),
    Plan("Phone in view", ("phone_present",), steps=True),
    Plan("Gaze on screen", ("gaze_on_script",), steps=True),
    Plan("Gaze point, px", ("gazePoint_x", "gazePoint_y")),
    Plan("Head pose, ratio", ("head_yaw", "head_pitch")),
)
"""What reviewers look at, from top to bottom."""


class Line(NamedTuple):
    """One signal; NaN where it is unknown or no frames came."""

    name: str
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]


class Diagram(NamedTuple):
    """What is drawn in one row."""

    plan: Plan
    lines: Sequence[Line]


class Happening(NamedTuple):
    """An event that the browser sent."""

    seconds: float
    name: str


class Signals(NamedTuple):
    """What there is to draw of a session's frames."""

    seconds: NDArray[np.float64]
    """When each frame was."""
    columns: Mapping[str, NDArray[np.float64]]
    """The features of all plans, by name."""
    happenings: Sequence[Happening]
    """In order of time."""


def signals(frames: Sequence[bytes], origin_ms: int) -> Signals:
    """Read the signals off stored frames, at least one; seconds are counted from `origin_ms`."""
    starts = range(0, len(frames), FRAMES_AT_ONCE)
    parts = [_signals(FrameBatch.from_json(frames[at : at + FRAMES_AT_ONCE], origin_ms)) for at in starts]
    return Signals(
        np.concatenate([part.seconds for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        [happening for part in parts for happening in part.happenings],
    )


def _signals(batch: FrameBatch) -> Signals:
    columns = {name: batch[name] for plan in PLANS for name in plan.names}
    events = [Happening(float(batch.seconds[event.place]), event.name) for event in batch.events]
    return Signals(batch.seconds, columns, events)


def diagrams(signals: Signals, gap_seconds: float) -> list[Diagram]:
    """Return the diagrams of which anything is known. A longer silence than `gap_seconds` breaks a line."""
    drawn = []
    for plan in PLANS:
        lines = [_line(name, signals.seconds, signals.columns[name], gap_seconds) for name in plan.names]
        known = [line for line in lines if not np.isnan(line.values).all()]
        if known:
            drawn.append(Diagram(plan, known))
    return drawn


def _line(name: str, seconds: NDArray[np.float64], values: NDArray[np.float64], gap_seconds: float) -> Line:
    silences = np.flatnonzero(np.diff(seconds) > gap_seconds)
    # A point without a value just after the last frame before each silence.
    seconds = np.insert(seconds, silences + 1, seconds[silences])
    values = np.insert(values, silences + 1, np.nan)
    kept = _thinned(values, _telling(values))
    return Line(name, seconds[kept], values[kept])


def _telling(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return where a value is not the same as before and after it: the others are on the line anyway."""
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    inner = np.concatenate(([False], same)) & np.concatenate((same, [False]))
    return np.flatnonzero(~inner)


def _thinned(values: NDArray[np.float64], kept: NDArray[np.intp]) -> NDArray[np.intp]:
    if kept.size <= POINTS_MAX:
        return kept
    chosen: set[int] = set()
    for part in np.array_split(kept, POINTS_MAX // 3):
        known = part[~np.isnan(values[part])]
        chosen.update(part[np.isnan(values[part])][:1].tolist())
        if known.size:
            chosen.update((int(known[values[known].argmin()]), int(known[values[known].argmax()])))
    return np.array(sorted(chosen), dtype=np.intp)
