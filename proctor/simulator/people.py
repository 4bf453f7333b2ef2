"""Who takes exams in simulations: people of a kind, drawn from a seed, with known truth."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.random import Generator

from proctor.errors import InvalidRequest
from proctor.simulator.browser import look_through
from proctor.simulator.camera import Camera
from proctor.simulator.habits import HABITS, Category, Habit, spread
from proctor.simulator.kinds import KINDS, Network
from proctor.simulator.scene import Floats, Happening, Scene, Span, at_rest

_BLOCK_FRAMES = 2048
"""Frames rendered at once: enough for NumPy to pay off, few enough that many exam takers fit into memory."""
_HIDDEN_TAB = ("tab",)
"""Habits during which browsers slow their timers down to one frame a second."""

_TELLING = ("no_of_face", "phone_present", "gaze_on_script", "head_pose")
"""Features whose change makes a client driven by events send a frame."""


class Truth(NamedTuple):
    """Something that a reviewer would want to see, from when to when, in seconds since the first frame."""

    start_seconds: float
    end_seconds: float
    category: Category


class Episode(NamedTuple):
    """A habit showing once."""

    span: Span
    habit: Habit


@dataclass(frozen=True)
class ExamTaker:
    """One person's exam: the same arguments always give the same exam, frame by frame."""

    kind: str
    seconds: float
    episodes: tuple[Episode, ...]
    """All that happens, also what is nobody's concern, in order of time."""
    outages: tuple[Span, ...]
    """When there is no connection; the frames of those times can only be sent afterwards."""
    _scene: Scene
    _camera: Camera
    _network: Network
    _seed: tuple[int, ...]

    @property
    def truth(self) -> list[Truth]:
        """The labelled episodes, in order of time; none for honest people."""
        return [Truth(*span, habit.category) for span, habit in self.episodes if habit.category is not None]

    @property
    def honest(self) -> bool:
        """Whether there is nothing to find."""
        return not self.truth

    def frames(self, start_ms: int = 0) -> Iterator[dict[str, Any]]:
        """Yield what the browser sends, in order: features with `timestamp`, or engine events with `ts`.

        Both are whole milliseconds; the first frame's is `start_ms`. An event has the key `event`, and the
        features of the last frame before it in `extractedFeatures`.
        """
        rng = np.random.default_rng(self._seed)
        coming = deque(sorted(self._scene.happenings, key=lambda happening: happening.seconds))
        latest: dict[str, Any] = {}
        number, sent = 0, 0.0
        for number, (seconds, features) in enumerate(
            zip(self._scene.seconds.tolist(), self._render(rng), strict=True)
        ):
            while coming and coming[0].seconds < seconds:
                yield _engine_event(coming.popleft(), start_ms, number - 1, latest)
            if self._nothing_new(features, latest, seconds - sent):
                continue
            latest, sent = features, seconds
            yield {**features, "timestamp": start_ms + round(seconds * 1000)}
        for happening in coming:
            yield _engine_event(happening, start_ms, number, latest)

    def _nothing_new(self, features: dict[str, Any], latest: dict[str, Any], silence: float) -> bool:
        """Return whether a client driven by events keeps a frame to itself."""
        due = not latest or silence >= self._network.silent_seconds
        return not due and all(features[name] == latest[name] for name in _TELLING)

    def _render(self, rng: Generator) -> Iterator[dict[str, Any]]:
        for first in range(0, self._scene.seconds.size, _BLOCK_FRAMES):
            yield from look_through(self._camera, self._scene.part(first, first + _BLOCK_FRAMES), rng)


def exam_taker(
    kind: str, seed: int, minutes: float, fps: float = 4.0, script: Sequence[Episode] = ()
) -> ExamTaker:
    """Draw one exam of a person of this kind; `script` adds what shall happen in any case.

    Raises:
        InvalidRequest: there is no such kind, or the exam has no length.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"kind must be one of {', '.join(KINDS)}", field="kind")
    if minutes <= 0 or fps <= 0:
        raise InvalidRequest("an exam needs minutes and frames per second above 0", field="minutes")
    sort, seconds = KINDS[kind], minutes * 60
    entropy = (crc32(kind.encode()), seed)
    plans, moods, clock, acts = np.random.default_rng(entropy).spawn(4)
    episodes = [
        Episode(span, HABITS[name])
        for name, eagerness in sort.habits.items()
        for span in spread(plans, seconds, HABITS[name], eagerness)
    ]
    episodes = sorted([*episodes, *script], key=lambda episode: episode.span)
    gaps = spread(plans, seconds, sort.network.gaps) if sort.network.gaps else []
    outages = spread(plans, seconds, sort.network.outages) if sort.network.outages else []
    camera = sort.camera(moods)
    hidden = [span for span, habit in episodes if habit.name in _HIDDEN_TAB]
    scene = at_rest(
        moods, _moments(clock, seconds, min(fps, sort.network.fps_max), sort.network, gaps, hidden)
    )
    for span, habit in episodes:
        habit.act(scene, span, acts)
    return ExamTaker(kind, seconds, tuple(episodes), tuple(outages), scene, camera, sort.network, entropy)


def episode(habit: str, start_seconds: float, end_seconds: float) -> Episode:
    """Name something for a script, e.g. `episode("phone", 60, 68)`."""
    return Episode(Span(start_seconds, end_seconds), HABITS[habit])


def _moments(
    rng: Generator, seconds: float, fps: float, network: Network, gaps: Sequence[Span], hidden: Sequence[Span]
) -> Floats:
    """Draw when frames are taken: from 0 on, unevenly, to the millisecond, with gaps, few in a hidden tab."""
    count = int(seconds * fps * 1.5) + 50
    pauses = rng.gamma(network.regularity, 1 / (network.regularity * fps), count)
    moments = np.concatenate(([0.0], np.cumsum(np.maximum(pauses, 0.001)))).round(3)
    moments = moments[moments < seconds]
    keep = np.ones(moments.size, dtype=bool)
    for span in gaps:
        keep &= (moments < span.start) | (moments >= span.end)
    new_second = np.diff(np.floor(moments), prepend=-1.0) > 0
    for span in hidden:
        keep &= (moments < span.start) | (moments >= span.end) | new_second
    return np.unique(moments[keep])


def _engine_event(
    happening: Happening, start_ms: int, number: int, features: dict[str, Any]
) -> dict[str, Any]:
    return {
        "event": happening.name,
        "lv": happening.severity,
        "ts": start_ms + round(happening.seconds * 1000),
        "source": happening.source,
        "frameNumber": number,
        **happening.about,
        "extractedFeatures": features,
    }
