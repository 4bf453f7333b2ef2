"""Whole sessions: simulated ones, whose truth is known, and recorded ones from dumps."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from proctor.simulator import Episode, Truth, exam_taker
from proctor.testing.frames import ORIGIN_MS


class Simulated(NamedTuple):
    """A simulated exam."""

    frames: list[bytes]
    """As a server that received each at once would store them, in time order."""
    truth: list[Truth]
    """What there is to find: from when to when, in seconds since the first frame, and of which category."""


def simulated(
    kind: str = "honest-lively",
    *,
    seed: int = 0,
    minutes: float = 10.0,
    fps: float = 4.0,
    script: Sequence[Episode] = (),
) -> Simulated:
    """Let somebody take an exam; the same arguments always give the same frames.

    `kind` is one of `KINDS`, honest or not. `script` adds what shall happen in any case, e.g.
    `[episode("phone", 60, 68)]`, in seconds since the first frame.

    Raises:
        InvalidRequest: there is no such kind, or the exam has no length.
    """
    # Loads the server's intake, which tests by hand have no need of.
    from proctor.simulator.replay import stored_frames

    taker = exam_taker(kind, seed, minutes, fps, script)
    return Simulated(list(stored_frames(taker, "s", ORIGIN_MS)), taker.truth)


def recorded(path: Path | str) -> list[bytes]:
    """Read the frames of a dump, a server's own or any JSON array of objects with a `timestamp`. Blocks.

    Raises:
        InvalidRequest: naming the file, and the element and feature at fault.
    """
    from proctor.offline.recording import read_recording

    return read_recording(Path(path), now_ms=ORIGIN_MS).frames
