"""Sessions made by hand: frames as a server stores them, from the features that matter to a test."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proctor.features import take_in
from proctor.times import iso_from_ms

ORIGIN_MS = 1_767_603_600_000
"""When sessions made by hand begin, in milliseconds since the epoch."""

FACE: dict[str, Any] = {"face_present": 1, "no_of_face": 1, "face_conf": 90}
"""Features of a frame with the candidate in view; `FACE | {"phone_present": 1}` adds to them."""

NO_FACE: dict[str, Any] = {"face_present": 0, "no_of_face": 0, "face_conf": 0}
"""Features of a frame with nobody in view."""


def stored(moments: Sequence[tuple[float, Mapping[str, Any]]]) -> list[bytes]:
    """Make one frame of each moment: seconds since the session's start, and features, perhaps an `event`.

    Features are taken in as a server takes them in: null is unknown, a `face_conf` of 0.9 is one of 90.

    Raises:
        InvalidRequest: a known feature has a value of the wrong type, so no server would store the frame.
    """
    frames = []
    for number, (seconds, features) in enumerate(moments):
        time_ms = ORIGIN_MS + round(seconds * 1000)
        about = {
            "session_id": "s",
            "timestamp": iso_from_ms(time_ms),
            "received_at": iso_from_ms(time_ms),
            "frame_id": f"{time_ms}-{number}",
        }
        frames.append(msgspec.json.encode(take_in(features) | about))
    return frames


def held(*spans: tuple[float, Mapping[str, Any]], fps: float = 5.0, jitter: int | None = None) -> list[bytes]:
    """Make frames of features that each hold for some seconds, one span after the other.

    `fps` is frames per second. With a seed in `jitter` frames come irregularly, the same for the same seed.
    A last frame marks the end of the last span.
    """
    rng = random.Random(jitter)  # noqa: S311  repeatable, and keeps no secret
    moments, time, begin = [], 0.0, 0.0
    for seconds, features in spans:
        while time < begin + seconds - 1e-9:
            moments.append((time, features))
            time += (1 if jitter is None else rng.uniform(0.3, 1.7)) / fps
        begin += seconds
    return stored([*moments, (begin, spans[-1][1])])


def event(name: str, **body: Any) -> dict[str, Any]:
    """Return the features of a frame that is an event of the browser engine, e.g. `TAB_SWITCHED`.

    It has the severity that a client may claim; add other features with `|`.
    """
    return {"event": {"event": name, "lv": 10, **body}}
