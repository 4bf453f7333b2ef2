"""What really happens in front of a camera, moment by moment, before any detector has looked at it."""

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Span(NamedTuple):
    """From when to when, in seconds since the exam began."""

    start: float
    end: float


class Happening(NamedTuple):
    """Something the browser notices at once, whatever the camera sees."""

    seconds: float
    name: str
    severity: int
    """1 to 10, as browser engines rate it; the server has to make up its own mind."""
    source: str
    """`browser`, `audio` or `visual`."""
    about: dict[str, Any]
    """Further fields of the event."""


@dataclass
class Scene:
    """The truth at each moment that a frame is taken. Arrays of one length, changed in place by habits."""

    seconds: Floats
    """Since the exam began; strictly rising."""
    yaw: Floats
    """1 is a head turned fully to the left edge of the picture, -1 to the right."""
    pitch: Floats
    """1 is a head fully up, -1 fully down."""
    roll: Floats
    gaze_x: Floats
    """Where the eyes rest, in half screens right of its middle: beyond 1 and -1 is off the screen."""
    gaze_y: Floats
    """The same, below its middle."""
    shift_x: Floats
    """How far the face is to the right of where it usually is, in face widths."""
    shift_y: Floats
    """The same, below."""
    nearness: Floats
    """Face size against its usual size."""
    eyes_open: Flags
    face_visible: Flags
    """Whether the candidate's face could be found at all."""
    others: Counts
    """Faces of other people."""
    phone: Floats
    """How well a phone is to be seen, 0 (not at all) to 1."""
    hands: Counts
    happenings: list[Happening]
    """In no particular order."""

    def part(self, first: int, last: int) -> Self:
        """Return the frames from `first` to before `last`, sharing memory, without happenings."""
        arrays = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "happenings"
        }
        return replace(self, happenings=[], **{name: array[first:last] for name, array in arrays.items()})

    def frames(self, span: Span) -> slice:
        """Return the frames that lie in `span`."""
        first, last = np.searchsorted(self.seconds, span)
        return slice(int(first), int(last))

    def ease(self, span: Span, ramp_seconds: float) -> tuple[slice, Floats]:
        """Return the frames of `span` and a weight for each: 0 at its ends, smoothly 1 after the ramp."""
        frames = self.frames(span)
        to_end = np.minimum(self.seconds[frames] - span.start, span.end - self.seconds[frames])
        rise = np.clip(to_end / ramp_seconds, 0.0, 1.0)
        return frames, rise * rise * (3 - 2 * rise)


def wander(rng: Generator, seconds: Floats, every_seconds: float, scale: float) -> Floats:
    """Drift slowly around 0 with standard deviation `scale`, turning about every so many seconds."""
    knots = np.arange(0.0, seconds[-1] + 2 * every_seconds, every_seconds)
    return np.interp(seconds, knots, rng.normal(0.0, scale, knots.size))


def fixate(rng: Generator, seconds: Floats, mean_seconds: float, reach: float) -> Floats:
    """Jump between points within `reach` of 0 and stay at each for a while, as reading eyes do."""
    count = int(seconds[-1] / mean_seconds * 1.5) + 20
    jumps = np.cumsum(rng.exponential(mean_seconds, count))
    points = rng.uniform(-reach, reach, count + 1)
    return points[np.searchsorted(jumps, seconds)]


def at_rest(rng: Generator, seconds: Floats) -> Scene:
    """Set the scene with somebody who sits, breathes and reads the screen."""
    gaze_x = fixate(rng, seconds, 0.7, 0.7)
    gaze_y = fixate(rng, seconds, 1.5, 0.6)
    return Scene(
        seconds=seconds,
        yaw=wander(rng, seconds, 12, 0.05) - 0.06 * gaze_x,
        pitch=wander(rng, seconds, 15, 0.05) - 0.05 * gaze_y,
        roll=wander(rng, seconds, 10, 0.05),
        gaze_x=gaze_x,
        gaze_y=gaze_y,
        shift_x=wander(rng, seconds, 20, 0.08),
        shift_y=wander(rng, seconds, 25, 0.06),
        nearness=1.0 + wander(rng, seconds, 30, 0.04),
        eyes_open=np.ones(seconds.size, dtype=bool),
        face_visible=np.ones(seconds.size, dtype=bool),
        others=np.zeros(seconds.size, dtype=np.int64),
        phone=np.zeros(seconds.size),
        hands=np.zeros(seconds.size, dtype=np.int64),
        happenings=[],
    )
