"""The feature vocabulary: 37 names that browsers send, what each may hold, and how it is taken in.

Rules read these names; names that are not here are kept as they came, for plugins that know them.
"""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from proctor.errors import InvalidRequest


class Kind(Enum):
    """What a feature holds. The value is the sentence that documentation and errors use."""

    FLAG = "0 or 1 (or false and true)"
    COUNT = "a whole number from 0 to 1000"
    NUMBER = "a finite number"
    CONFIDENCE = "a number from 0 to 100; values up to 1 are taken as shares of 1"
    TEXT = "text of at most 64 characters"


VOCABULARY: Mapping[str, Kind] = {
    "face_present": Kind.FLAG,
    "no_of_face": Kind.COUNT,
    "face_x": Kind.NUMBER,
    "face_y": Kind.NUMBER,
    "face_w": Kind.NUMBER,
    "face_h": Kind.NUMBER,
    "left_eye_x": Kind.NUMBER,
    "left_eye_y": Kind.NUMBER,
    "right_eye_x": Kind.NUMBER,
    "right_eye_y": Kind.NUMBER,
    "nose_tip_x": Kind.NUMBER,
    "nose_tip_y": Kind.NUMBER,
    "mouth_x": Kind.NUMBER,
    "mouth_y": Kind.NUMBER,
    "face_conf": Kind.CONFIDENCE,
    "hand_count": Kind.COUNT,
    "left_hand_x": Kind.NUMBER,
    "left_hand_y": Kind.NUMBER,
    "right_hand_x": Kind.NUMBER,
    "right_hand_y": Kind.NUMBER,
    "hand_obj_interaction": Kind.FLAG,
    "head_pose": Kind.TEXT,
    "head_pitch": Kind.NUMBER,
    "head_yaw": Kind.NUMBER,
    "head_roll": Kind.NUMBER,
    "phone_present": Kind.FLAG,
    "phone_loc_x": Kind.NUMBER,
    "phone_loc_y": Kind.NUMBER,
    "phone_conf": Kind.CONFIDENCE,
    "gaze_on_script": Kind.FLAG,
    "gaze_direction": Kind.TEXT,
    "gazePoint_x": Kind.NUMBER,
    "gazePoint_y": Kind.NUMBER,
    "pupil_left_x": Kind.NUMBER,
    "pupil_left_y": Kind.NUMBER,
    "pupil_right_x": Kind.NUMBER,
    "pupil_right_y": Kind.NUMBER,
}

COUNT_MAX = 1000
TEXT_MAX_CHARACTERS = 64
NUMBER_MAX = 2**53
"""Integers beyond have no meaning as a measurement and break arithmetic later."""


class _Misfit(ValueError):
    pass


def _number(value: Any) -> float | int | None:
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, int) and abs(value) > NUMBER_MAX:
            raise _Misfit
        return value
    if value == "None":  # the browser engine's word for a feature it could not compute
        return None
    raise _Misfit


def _flag(value: Any) -> int | None:
    number = _number(value)
    if number is None:
        return None
    if number in (0, 1):
        return int(number)
    raise _Misfit


def _count(value: Any) -> int | None:
    number = _coordinate(value)
    if number is None:
        return None
    if number != int(number) or not 0 <= number <= COUNT_MAX:
        raise _Misfit
    return int(number)


def _coordinate(value: Any) -> float | int | None:
    if isinstance(value, bool):
        raise _Misfit
    return _number(value)


def as_percent(confidence: float) -> float | int:
    """Return a confidence as 0-100. A detector that reports is over 1 % sure, so up to 1 is a share of 1."""
    return round(confidence * 100, 4) if 0 < confidence <= 1 else confidence


def _confidence(value: Any) -> float | int | None:
    number = _coordinate(value)
    if number is None:
        return None
    if not 0 <= number <= 100:
        raise _Misfit
    return as_percent(number)


def _text(value: Any) -> str:
    if isinstance(value, str) and len(value) <= TEXT_MAX_CHARACTERS:
        return value
    raise _Misfit


_TAKE: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.FLAG: _flag,
    Kind.COUNT: _count,
    Kind.NUMBER: _coordinate,
    Kind.CONFIDENCE: _confidence,
    Kind.TEXT: _text,
}
_TAKERS = {name: _TAKE[kind] for name, kind in VOCABULARY.items()}


def take_in(features: Mapping[str, Any]) -> dict[str, Any]:
    """Check and normalise one frame's features.

    Unknown values (null, NaN, infinities, and the text "None" where a number belongs) are left out: a missing
    feature is unknown, never 0. Flags become 0 or 1, confidences 0-100. Names outside the vocabulary pass as
    they are.

    Raises:
        InvalidRequest: a value of the wrong type or range; `field` is the feature's name.
    """
    taken = {}
    for name, taker in _TAKERS.items():  # in this order, so that a payload has one form however it is written
        value = features.get(name)
        if value is not None:
            try:
                known = taker(value)
            except _Misfit:
                detail = f"{name} must be {VOCABULARY[name].value}, or null where it is unknown"
                raise InvalidRequest(detail, field=name) from None
            if known is not None:
                taken[name] = known
    taken |= {name: value for name, value in features.items() if name not in _TAKERS}
    return taken
