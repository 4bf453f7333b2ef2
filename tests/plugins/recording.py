"""Recordings made by hand, and judging them with one analyzer, however they are cut."""

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from proctor.analysis.api import Assessment, Finding
from proctor.analysis.frames import FrameBatch

ORIGIN_MS = 1_767_603_600_000
FACE = {"face_present": 1, "no_of_face": 1, "face_conf": 90}
NO_FACE = {"face_present": 0, "no_of_face": 0, "face_conf": 0}


def stored(moments: Sequence[tuple[float, dict[str, Any]]]) -> list[bytes]:
    """Frames as a store holds them, from (seconds since the session's start, features and `event`)."""
    frames = []
    for number, (seconds, features) in enumerate(moments):
        frame_id = f"{ORIGIN_MS + round(seconds * 1000)}-{number}"
        frames.append(json.dumps({**features, "session_id": "s", "frame_id": frame_id}).encode())
    return frames


def held(*spans: tuple[float, dict[str, Any]], fps: float = 5.0, jitter: int | None = None) -> list[bytes]:
    """Frames of features that hold for some seconds each; with a seed, frames come irregularly."""
    rng = random.Random(jitter)
    moments, time, begin = [], 0.0, 0.0
    for seconds, features in spans:
        while time < begin + seconds - 1e-9:
            moments.append((time, features))
            time += (1 if jitter is None else rng.uniform(0.3, 1.7)) / fps
        begin += seconds
    return stored([*moments, (begin, spans[-1][1])])


def event(name: str, **body: Any) -> dict[str, Any]:
    """An engine event, with the severity that a client may claim."""
    return {"event": {"event": name, "lv": 10, **body}}


def judge(
    analyzer: type[Any], frames: Sequence[bytes], cuts: Sequence[int] = (), **settings: Any
) -> Assessment:
    """Fold and assess, with the state encoded and decoded at each cut as the server does it."""
    rule = analyzer(msgspec.convert(settings, analyzer.Settings))
    state = analyzer.State()
    for start, end in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        if start < end:
            rule.fold(state, FrameBatch.from_json(frames[start:end], ORIGIN_MS))
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=analyzer.State)
    assessment: Assessment = rule.assess(state)
    return assessment


def levels(assessment: Assessment) -> list[str]:
    return [finding.level.value for finding in assessment.findings]


def only(assessment: Assessment) -> Finding:
    [finding] = assessment.findings
    return finding
