"""What people do: each habit says how often, for how long, and how it changes the scene."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from proctor.simulator.scene import Happening, Scene, Span

Act = Callable[[Scene, Span, Generator], None]
"""Changes the scene during the span, and shortly around it where a movement leads into it."""


_APART_SECONDS = 10.0
"""Between two showings of one habit, where the exam has room for it: closer together they would be one."""


class Category(StrEnum):
    """What a reviewer would want to see. The values are the categories of findings."""

    PHONE = "phone"
    MULTIPLE_FACES = "multiple_faces"
    NO_FACE = "no_face"
    GAZE = "gaze"
    WINDOW = "window"
    CLIPBOARD = "clipboard"
    SPEECH = "speech"


@dataclass(frozen=True)
class Habit:
    """Something a person does now and then."""

    name: str
    act: Act
    seconds: tuple[float, float]
    """Shortest and longest; short ones are commoner."""
    per_hour: float
    at_least: int = 0
    """How often even in a short exam."""
    category: Category | None = None
    """What it is when labelled; None for what honest people do."""


def look(scene: Scene, span: Span, x: float, y: float, head: float, ramp_seconds: float = 0.35) -> None:
    """Look at a point in half screens from the screen's middle; the head does the share `head` of it."""
    frames, weight = scene.ease(span, ramp_seconds)
    scene.gaze_x[frames] += weight * (x - scene.gaze_x[frames])
    scene.gaze_y[frames] += weight * (y - scene.gaze_y[frames])
    scene.yaw[frames] -= weight * head * x
    scene.pitch[frames] -= weight * head * y


def _either(rng: Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _blink(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.eyes_open[scene.frames(span)] = False


def _glance(scene: Scene, span: Span, rng: Generator) -> None:
    look(
        scene,
        span,
        _either(rng) * rng.uniform(1.3, 2.0),
        rng.uniform(-0.5, 0.8),
        head=0.12,
        ramp_seconds=0.15,
    )


def _think(scene: Scene, span: Span, rng: Generator) -> None:
    look(scene, span, rng.uniform(-1.8, 1.8), rng.uniform(-2.2, -1.3), head=0.15)


def _turn_head(scene: Scene, span: Span, rng: Generator) -> None:
    look(scene, span, _either(rng) * rng.uniform(1.6, 2.6), rng.uniform(-0.3, 0.4), head=0.4)


def _shift_posture(scene: Scene, span: Span, rng: Generator) -> None:
    frames, weight = scene.ease(span, 1.5)
    scene.shift_x[frames] += weight * rng.normal(0, 0.25)
    scene.shift_y[frames] += weight * rng.normal(0, 0.2)
    scene.nearness[frames] *= 1 + weight * rng.uniform(-0.15, 0.25)
    scene.yaw[frames] += weight * rng.normal(0, 0.08)
    scene.pitch[frames] += weight * rng.normal(0, 0.08)


def _lose_face(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.face_visible[scene.frames(span)] = False


def _show_hands(scene: Scene, span: Span, rng: Generator) -> None:
    scene.hands[scene.frames(span)] = rng.integers(1, 3)


def _mumble(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.happenings.append(Happening(span.start, "MOUTH_MOVING", 5, "visual", {}))


def _move_mouse_out(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.happenings.append(Happening(span.start, "MOUSE_LEFT_WINDOW", 4, "browser", {}))
    scene.happenings.append(Happening(span.end, "MOUSE_ENTERED_WINDOW", 1, "browser", {}))


def _lose_focus(scene: Scene, span: Span, _rng: Generator) -> None:
    milliseconds = round((span.end - span.start) * 1000)
    restored = {"focused": True, "duration": milliseconds}
    scene.happenings.append(Happening(span.start, "WINDOW_FOCUS_LOST", 8, "browser", {"focused": False}))
    scene.happenings.append(Happening(span.end, "WINDOW_FOCUS_RESTORED", 2, "browser", restored))


def _switch_tab(scene: Scene, span: Span, rng: Generator) -> None:
    _lose_focus(scene, span, rng)
    returned = {"hidden": False, "duration": round((span.end - span.start) * 1000)}
    scene.happenings.append(Happening(span.start, "TAB_SWITCHED", 10, "browser", {"hidden": True}))
    scene.happenings.append(Happening(span.end, "TAB_RETURNED", 2, "browser", returned))


def _paste(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.happenings.append(Happening(span.start, "SUSPICIOUS_KEY_PRESS", 6, "browser", {"key": "Ctrl+V"}))
    scene.happenings.append(Happening(span.start, "PASTE_ATTEMPT", 9, "browser", {}))


def _hold_phone(scene: Scene, span: Span, rng: Generator) -> None:
    x, y = rng.uniform(-0.9, 0.9), rng.uniform(1.4, 2.2)
    look(scene, span, x, y, head=0.3, ramp_seconds=0.6)
    frames, weight = scene.ease(span, 0.5)
    # A hand in front of it now and then: visible most of the time, never all of it.
    covered = np.clip(rng.normal(0.05, 0.1, weight.size), 0, 1)
    scene.phone[frames] = np.maximum(scene.phone[frames], np.maximum(weight, 0.3) - covered)
    scene.hands[frames] = np.maximum(scene.hands[frames], 1)


def _have_company(scene: Scene, span: Span, rng: Generator) -> None:
    scene.others[scene.frames(span)] += 1
    side = _either(rng)
    moment = span.start + rng.uniform(0.5, 2.0)
    while moment < span.end:
        until = min(moment + rng.uniform(1.5, 5.0), span.end)
        look(scene, Span(moment, until), side * rng.uniform(1.4, 2.2), rng.uniform(-0.6, 0.2), head=0.35)
        moment = until + rng.uniform(1.0, 5.0)


def _read_notes(scene: Scene, span: Span, rng: Generator) -> None:
    side, down = _either(rng) * rng.uniform(1.5, 2.1), rng.uniform(0.6, 1.6)
    moment = span.start
    while moment < span.end:
        until = min(moment + rng.uniform(4.0, 9.0), span.end)
        x, y = side + rng.normal(0, 0.12), down + rng.normal(0, 0.12)
        look(scene, Span(moment, until), x, y, head=rng.uniform(0.22, 0.38))
        moment = until + rng.uniform(1.5, 4.0)  # back to the screen, to write it down


def _look_aside(scene: Scene, span: Span, rng: Generator, head: tuple[float, float]) -> None:
    side, down = _either(rng) * rng.uniform(1.5, 2.2), rng.uniform(-0.2, 0.5)
    moment = span.start
    while moment < span.end:
        until = min(moment + rng.uniform(2.5, 6.0), span.end)
        x, y = side + rng.normal(0, 0.12), down + rng.normal(0, 0.12)
        look(scene, Span(moment, until), x, y, head=rng.uniform(*head))
        moment = until + rng.uniform(2.5, 7.0)


def _look_aside_with_head(scene: Scene, span: Span, rng: Generator) -> None:
    _look_aside(scene, span, rng, head=(0.25, 0.4))


def _look_aside_with_eyes(scene: Scene, span: Span, rng: Generator) -> None:
    _look_aside(scene, span, rng, head=(0.0, 0.06))


def _sit_back(scene: Scene, span: Span, rng: Generator) -> None:
    frames, weight = scene.ease(span, 2.0)
    scene.nearness[frames] *= 1 - weight * rng.uniform(0.3, 0.5)
    scene.shift_y[frames] += weight * rng.uniform(0.1, 0.4)
    scene.pitch[frames] += weight * rng.uniform(0.05, 0.25)


def _flicker_face(scene: Scene, span: Span, _rng: Generator) -> None:
    scene.others[scene.frames(span)] += 1


def _flicker_phone(scene: Scene, span: Span, rng: Generator) -> None:
    frames = scene.frames(span)
    scene.phone[frames] = np.maximum(scene.phone[frames], rng.uniform(0.2, 0.7))


def _leave_seat(scene: Scene, span: Span, rng: Generator) -> None:
    side = _either(rng)
    frames, weight = scene.ease(Span(span.start - 1.2, span.end + 1.2), 1.2)
    scene.shift_x[frames] += side * 1.6 * weight
    scene.shift_y[frames] -= 0.8 * weight
    scene.face_visible[scene.frames(span)] = False


def _talk(scene: Scene, span: Span, rng: Generator) -> None:
    # Engines report speech every three seconds of it, and moving lips whenever they see them.
    heard = span.start + 3.1
    while heard <= span.end:
        about = {"duration": 3100, "level": round(float(rng.normal(-36, 4)), 1)}
        scene.happenings.append(Happening(heard, "TALKING_DETECTED", 8, "audio", about))
        heard += 3.1
    seen = span.start + rng.uniform(0.1, 0.6)
    while seen <= span.end:
        scene.happenings.append(Happening(seen, "MOUTH_MOVING", 5, "visual", {}))
        seen += rng.uniform(1.0, 2.5)


_HABITS = (
    Habit("blink", _blink, (0.12, 0.35), per_hour=900),
    Habit("glance", _glance, (0.6, 2.0), per_hour=50),
    Habit("thinking", _think, (2.0, 6.5), per_hour=14),
    Habit("head_turn", _turn_head, (0.6, 1.8), per_hour=12),
    Habit("posture", _shift_posture, (20.0, 300.0), per_hour=8),
    Habit("face_dropout", _lose_face, (0.2, 1.6), per_hour=25),
    Habit("hands", _show_hands, (3.0, 40.0), per_hour=30),
    Habit("mumble", _mumble, (0.5, 1.5), per_hour=10),
    Habit("mouse_out", _move_mouse_out, (0.5, 8.0), per_hour=12),
    Habit("notification", _lose_focus, (0.2, 0.8), per_hour=1.5),
    Habit("face_loss", _lose_face, (1.0, 6.0), per_hour=25),
    Habit("face_flicker", _flicker_face, (0.2, 1.2), per_hour=60),
    Habit("phone_flicker", _flicker_phone, (0.2, 0.8), per_hour=45),
    Habit("read_aloud", _talk, (3.5, 14.0), per_hour=20),
    Habit("sit_back", _sit_back, (60.0, 600.0), per_hour=5),
    Habit("phone", _hold_phone, (8.0, 45.0), per_hour=6, at_least=1, category=Category.PHONE),
    Habit(
        "second_person", _have_company, (12.0, 60.0), per_hour=4, at_least=1, category=Category.MULTIPLE_FACES
    ),
    Habit("notes", _read_notes, (120.0, 240.0), per_hour=3, at_least=1, category=Category.GAZE),
    Habit("brief_phone", _hold_phone, (8.0, 8.0), per_hour=1.5, at_least=1, category=Category.PHONE),
    Habit(
        "looks_aside",
        _look_aside_with_head,
        (60.0, 180.0),
        per_hour=4,
        at_least=1,
        category=Category.GAZE,
    ),
    Habit(
        "eyes_aside",
        _look_aside_with_eyes,
        (60.0, 180.0),
        per_hour=4,
        at_least=1,
        category=Category.GAZE,
    ),
    Habit("absence", _leave_seat, (30.0, 120.0), per_hour=3, at_least=1, category=Category.NO_FACE),
    Habit("tab", _switch_tab, (5.0, 40.0), per_hour=9, at_least=2, category=Category.WINDOW),
    Habit("paste", _paste, (1.0, 1.0), per_hour=4, at_least=1, category=Category.CLIPBOARD),
    Habit("talk", _talk, (20.0, 60.0), per_hour=6, at_least=1, category=Category.SPEECH),
)
HABITS: Mapping[str, Habit] = {habit.name: habit for habit in _HABITS}


def spread(rng: Generator, seconds: float, habit: Habit, eagerness: float = 1.0) -> list[Span]:
    """Draw when a habit shows during an exam: in order, apart from each other, clear of both ends.

    All of them together take half of the exam at the most, so in a short one each is shorter.
    """
    count = max(habit.at_least, int(rng.poisson(habit.per_hour * eagerness * seconds / 3600)))
    shortest, longest = habit.seconds
    lengths = shortest + (longest - shortest) * rng.beta(1.2, 2.0, count)
    lengths *= min(1.0, 0.5 * seconds / max(lengths.sum(), 1e-9))
    free = seconds - lengths.sum()
    apart = min(_APART_SECONDS, 0.3 * free / max(count, 1))
    moments = np.sort(rng.uniform(0.02, 0.98, count)) * (free - apart * count)
    starts = moments + np.cumsum(lengths) - lengths + apart * np.arange(count)
    return [
        Span(round(float(start), 3), round(float(start + length), 3))
        for start, length in zip(starts, lengths, strict=True)
    ]
