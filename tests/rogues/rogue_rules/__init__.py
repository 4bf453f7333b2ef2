"""Analyzers that misbehave, each in its own way. Put `tests/rogues` on PYTHONPATH to install them all.

To have only some, copy this folder and its `.dist-info` elsewhere and shorten `entry_points.txt`.
"""

import ctypes
import os
import signal
import time
from typing import Any

import msgspec

from proctor.analysis.api import API_VERSION, Assessment, Finding, Group, Level, Observed
from proctor.analysis.frames import FrameBatch


class Rogue:
    """Behaves by itself: counts frames and finds nothing. Each rogue below goes wrong in one place."""

    api_version = API_VERSION
    title = "Rogue"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """How long to behave."""

        after_frames: int = 0
        """Misbehave in the batch with the frame of this number, counted from 0."""

    class State(msgspec.Struct):
        """How far it has come."""

        frames: int = 0

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def fold(self, state: Any, frames: FrameBatch) -> None:
        """Count, and misbehave when it is time."""
        state.frames += len(frames)
        if state.frames > self.settings.after_frames:
            self.misbehave(state)

    def misbehave(self, state: Any) -> None:
        """Go wrong while folding, or not."""

    def assess(self, state: Any) -> Assessment:
        """Find nothing."""
        return Assessment(findings=[])


def finding(**changes: Any) -> Finding:
    """A finding that is in order, apart from the changes."""
    fields: dict[str, Any] = {
        "category": "rogue",
        "group": Group.DEVICE,
        "level": Level.CONCERN,
        "start_seconds": 0.0,
        "end_seconds": 0.0,
        "strength": 0.5,
        "message": "Something was there",
        "frame_ids": ("0-0", "0-0", "0-0"),
        "observed": Observed(signal="rogue", value=1.0, threshold=0.5, unit="s"),
    }
    return Finding(**fields | changes)


class Raises(Rogue):
    def misbehave(self, state: Any) -> None:
        raise RuntimeError("this rule is broken")


class RaisesInAssess(Rogue):
    def assess(self, state: Any) -> Assessment:
        raise LookupError("nothing to assess")


class RaisesInConstructor(Rogue):
    def __init__(self, settings: Any) -> None:
        raise RuntimeError("cannot be made")


class RaisesUnprintable(Rogue):
    def misbehave(self, state: Any) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("not even this")

            def __reduce__(self) -> Any:
                raise RuntimeError("nor this")

        raise Unprintable


class Quits(Rogue):
    """`sys.exit` and the like are no Exception."""

    def misbehave(self, state: Any) -> None:
        raise SystemExit(0)


class Interrupts(Rogue):
    def misbehave(self, state: Any) -> None:
        raise KeyboardInterrupt


class Hangs(Rogue):
    """Waits for ever, and answers to signals."""

    def misbehave(self, state: Any) -> None:
        while True:
            time.sleep(3600)


class Spins(Rogue):
    """Uses the processor for ever and swallows every exception thrown into it."""

    def misbehave(self, state: Any) -> None:
        while True:
            try:
                while True:
                    pass
            except BaseException:
                continue


class HangsInAssess(Rogue):
    def assess(self, state: Any) -> Assessment:
        while True:
            time.sleep(3600)


class Exits(Rogue):
    """Ends its process without any cleanup, and with success."""

    def misbehave(self, state: Any) -> None:
        os._exit(0)


class Dies(Rogue):
    """Kills its process as the kernel does when memory runs out."""

    def misbehave(self, state: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class DiesInAssess(Rogue):
    def assess(self, state: Any) -> Assessment:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Segfaults(Rogue):
    """Crashes the interpreter as a bad extension module does."""

    def misbehave(self, state: Any) -> None:
        ctypes.string_at(0)


class Hoards(Rogue):
    """Takes memory without end, 64 MiB at a time."""

    def misbehave(self, state: Any) -> None:
        hoard = []
        while True:
            hoard.append(b"\1" * 2**26)


class Recurses(Rogue):
    def misbehave(self, state: Any) -> None:
        self.misbehave(state)


class Chatters(Rogue):
    """Prints a lot, where a worker may be talking to its parent."""

    def misbehave(self, state: Any) -> None:
        print("x" * 100_000)
        os.write(1, b"y" * 1000)


class Scribbles(Rogue):
    """Writes into the columns that all analyzers share."""

    def fold(self, state: Any, frames: FrameBatch) -> None:
        frames["face_present"][:] = 0
        frames["phone_present"][:] = 1


class Unserialisable(Rogue):
    """Its state cannot be encoded."""

    def misbehave(self, state: Any) -> None:
        state.frames = object()


class WrongState(Rogue):
    """Its state encodes but is not what it says it is."""

    def misbehave(self, state: Any) -> None:
        state.frames = "many"


class HugeState(Rogue):
    """Its state grows without end."""

    class State(msgspec.Struct):
        frames: int = 0
        hoard: list[str] = msgspec.field(default_factory=list)

    def misbehave(self, state: Any) -> None:
        state.hoard.append("x" * 2**24)


class ReturnsNothing(Rogue):
    def assess(self, state: Any) -> Any:
        return None


class ReturnsDict(Rogue):
    def assess(self, state: Any) -> Any:
        return {"findings": []}


class ReturnsNan(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding(strength=float("nan"))], window_strengths={0: float("nan")})


class ReturnsTooStrong(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding(strength=1000.0)])


class ReturnsAnotherTime(Rogue):
    """A finding before the session began, that ends after its last frame."""

    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding(start_seconds=-5.0, end_seconds=1e9)])


class ReturnsBackwards(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding(start_seconds=1.0, end_seconds=0.0)])


class ReturnsWrongTypes(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding(level="very bad", message=None, frame_ids=("0-0",))])


class ReturnsStrangeDetails(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[], details={"when": object(), "how": float("inf")})


class ReturnsTooMuch(Rogue):
    def assess(self, state: Any) -> Assessment:
        return Assessment(findings=[finding() for _ in range(100_000)])
