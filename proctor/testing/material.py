"""What the contract suite puts before an analyzer: sessions of every sort, in every state of disrepair."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.frames import UNKNOWN_TEXT, FrameBatch
from proctor.features import VOCABULARY, Kind
from proctor.testing.frames import FACE, NO_FACE, ORIGIN_MS, event, held, stored
from proctor.testing.judging import Subject, deadline, time_ms
from proctor.testing.sessions import simulated
from proctor.times import iso_from_ms

HUGE_FRAMES = 108_000
"""An hour at 30 frames per second."""

EVENTS = (
    "NO_FACE",
    "MULTIPLE_FACES",
    "PERSON_LEFT",
    "SUSPICIOUS_OBJECT",
    "TAB_SWITCHED",
    "TAB_RETURNED",
    "PASTE_ATTEMPT",
    "COPY_ATTEMPT",
    "GAZE_AWAY",
    "HEAD_TURNED",
    "TALKING_DETECTED",
    "WHISPERING_DETECTED",
    "PROLONGED_MOUTH_MOVEMENT",
    "WINDOW_FOCUS_LOST",
    "WINDOW_FOCUS_RESTORED",
    "EXITED_FULLSCREEN",
    "MOUSE_LEFT_WINDOW",
    "NEVER_HEARD_OF",
)

_NO_FEATURES = frozenset({"event", "frame_id", "received_at", "session_id", "timestamp"})

_AT_EASE = FACE | {"gaze_on_script": 1, "head_yaw": 0.02, "hand_count": 2, "phone_present": 0, "face_w": 180}
_DEEDS: Sequence[tuple[float, Mapping[str, Any]]] = (
    (6, _AT_EASE),
    (4, _AT_EASE | {"phone_present": 1, "phone_conf": 88, "hand_obj_interaction": 1, "hand_count": 1}),
    (3, _AT_EASE | {"gaze_on_script": 0, "head_yaw": 0.4, "gaze_direction": "left", "hand_count": 0}),
    (4, NO_FACE),
    (3, _AT_EASE | {"no_of_face": 2, "face_w": 60}),
)
_HOSTILE_NUMBERS = (0, -0.0, 5e-324, -1e-300, 1e15, 1e308, -1.7976931348623157e308, 2**53)
_HOSTILE_TEXTS = (
    "",
    UNKNOWN_TEXT,
    "NaN",
    "\x00",
    "\u202eevig",
    "é\u0301",
    "👩‍👩‍👧‍👦",
    "<script>",
    "\ufeff",
    "x" * 64,
)
_ODDITIES: Sequence[Any] = (
    None,
    True,
    2**64 - 1,
    1e300,
    "None",
    "text",
    [],
    [[1, "two", None]],
    {"deep": {"er": [0.5]}},
)


def some_sessions(names: Iterable[str]) -> dict[str, Callable[[], Sequence[bytes]]]:
    """Return makers of sessions by what they are; `names` are features besides the known ones."""
    rates = {f"made by hand, {fps} fps": lambda fps=fps: _made_by_hand(fps) for fps in (1, 5, 15)}
    people = {
        f"simulated, {kind}": lambda kind=kind: _simulated(kind)
        for kind in ("phone", "second-person", "honest-bad-network")
    }
    wild_ones = {f"wild, seed {seed}": lambda seed=seed: wild(400, seed, names) for seed in (1, 2)}
    return {**rates, **people, **wild_ones}


@cache
def _made_by_hand(fps: int) -> Sequence[bytes]:
    happenings = [(1, _AT_EASE | event(name)) for name in EVENTS[:6]]
    return held(*_DEEDS, *happenings, fps=fps, jitter=fps)


@cache
def _simulated(kind: str) -> Sequence[bytes]:
    return simulated(kind, seed=1, minutes=2, fps=3).frames


def wild(count: int, seed: int, names: Iterable[str] = ()) -> list[bytes]:
    """Make frames with features that come, stay a while, change and go, with events and gaps, at any pace.

    `names` are features besides the known ones.
    """
    return list(_wild(count, seed, tuple(sorted(set(names) - VOCABULARY.keys()))))


@cache
def _wild(count: int, seed: int, names: tuple[str, ...]) -> Sequence[bytes]:
    rng = random.Random(seed)  # noqa: S311  repeatable, and keeps no secret
    kinds: dict[str, Kind | None] = {**dict.fromkeys(names), **VOCABULARY}
    now, moments, features = 0.0, [], dict[str, Any]()
    for _ in range(count):
        for name, kind in kinds.items():
            if rng.random() < 0.1:
                features[name] = _any_value(kind, rng)
            elif rng.random() < 0.01:
                features[name] = None
        happened = event(rng.choice(EVENTS)) if rng.random() < 0.4 else {}
        moments.append((now, features | happened))
        now += rng.choice([0, 0.03, 0.1, 0.1, 0.5, 1, 1, 7 if rng.random() < 0.02 else 0.2])
    return stored(moments)


def _any_value(kind: Kind | None, rng: random.Random) -> Any:
    return {
        Kind.FLAG: rng.choice([0, 1, 1]),
        Kind.COUNT: rng.choice([0, 1, 1, 2]),
        Kind.NUMBER: rng.gauss(0.1, 0.2),
        Kind.CONFIDENCE: rng.uniform(0, 100),
        Kind.TEXT: rng.choice(["forward", "forward", "forward", "left", "center", UNKNOWN_TEXT, ""]),
        None: rng.choice([0, 1, 1, 0.5, 30, "some", "other"]),
    }[kind]


@cache
def nothing_known() -> dict[str, list[bytes]]:
    """Make sessions in which nothing is known, by how."""
    seconds = [number / 2 for number in range(240)]
    times = [(time_ms(frame), frame) for frame in stored([(second, {}) for second in seconds])]
    null = dict.fromkeys(VOCABULARY)
    return {
        "no features": stored([(second, {}) for second in seconds]),
        "unknown features only": stored([(second, {"weather": "fine", "wind": 3}) for second in seconds]),
        # Not through the server's intake, which leaves null out; dumps from elsewhere may have it.
        "every feature null": [msgspec.json.encode(null | msgspec.json.decode(frame)) for _, frame in times],
    }


def zeros() -> list[bytes]:
    """Make frames in which the browser filled in 0 and "None" for all that it could not compute."""
    blank = {name: UNKNOWN_TEXT if kind is Kind.TEXT else 0 for name, kind in VOCABULARY.items()}
    return stored([(number / 2, blank) for number in range(240)])


def without(frames: Sequence[bytes], name: str) -> list[bytes]:
    """Take one feature out of every frame."""
    decoded: list[dict[str, Any]] = [msgspec.json.decode(frame) for frame in frames]
    return [
        msgspec.json.encode({key: value for key, value in frame.items() if key != name}) for frame in decoded
    ]


def hostile(names: Iterable[str] = ()) -> list[bytes]:
    """Make frames with the strangest values that a server stores."""
    rng = random.Random(5)  # noqa: S311  repeatable, and keeps no secret
    values: dict[Kind | None, Sequence[Any]] = {
        Kind.FLAG: (0, 1, True, False),
        Kind.COUNT: (0, 1, 1000),
        Kind.NUMBER: _HOSTILE_NUMBERS,
        Kind.CONFIDENCE: (0, 5e-324, 100),
        Kind.TEXT: _HOSTILE_TEXTS,
        None: (*_ODDITIES, *_HOSTILE_TEXTS, *_HOSTILE_NUMBERS),
    }
    kinds: dict[str, Kind | None] = {
        **VOCABULARY,
        **dict.fromkeys([*sorted(names), "π", "", "a b", "__class__"]),
    }
    moments = []
    for number in range(400):
        features = {name: rng.choice(values[kind]) for name, kind in kinds.items()}
        oddity = {"event": {"event": rng.choice(values[None]), "lv": rng.choice(values[None])}}
        # Many at one moment, then a silence of a day.
        seconds = number // 40 * 0.001 + (86_400 if number > 300 else 0)
        moments.append((seconds, features | (oddity if number % 3 else event(rng.choice(EVENTS)))))
    return stored(moments)


def huge(names: Iterable[str] = ()) -> Iterator[bytes]:
    """Yield an hour of thirty frames per second, busy from beginning to end, with features of these names."""
    rng = random.Random(6)  # noqa: S311  repeatable, and keeps no secret
    others = {name: VOCABULARY.get(name) for name in sorted(names)}
    bodies = []
    for number in range(400):
        more = {name: _any_value(kind, rng) for name, kind in others.items()}
        features = event(rng.choice(EVENTS)) if number % 20 == 0 else {**more, **rng.choice(_DEEDS)[1]}
        bodies.append(msgspec.json.encode({"session_id": "s", **features})[:-1])
    for number in range(HUGE_FRAMES):
        now_ms = ORIGIN_MS + number * 100 // 3
        body = bodies[number // 270 % len(bodies)]  # each for nine seconds
        yield b'%b,"timestamp":"%b","frame_id":"%d-%d"}' % (
            body,
            iso_from_ms(now_ms).encode(),
            now_ms,
            number,
        )


def names_read(subject: Subject) -> set[str]:
    """Return the features that an analyzer looks at when it is given a little of everything."""
    batch = _WatchedBatch.from_json(wild(200, seed=3), ORIGIN_MS)
    with deadline(subject.call_seconds):
        subject.made().fold(subject.analyzer.State(), batch)
    return batch.read - _NO_FEATURES


class _WatchedBatch(FrameBatch):
    """Notes which features are asked for."""

    def __init__(self, frames: Sequence[bytes], origin_ms: int) -> None:
        super().__init__(frames, origin_ms)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        self.read.add(name)
        return super().__getitem__(name)

    def text(self, name: str) -> Sequence[str | None]:
        self.read.add(name)
        return super().text(name)

    def values(self, name: str) -> list[Any]:
        self.read.add(name)
        return super().values(name)
