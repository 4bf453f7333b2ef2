"""Analyzers that a server would run and that break the contract all the same, each in one place.

The contract suite must find each of them out. Put `tests/wayward` on PYTHONPATH to install them all.
"""

import random
import time
from typing import Annotated, Any

import msgspec
import numpy as np

from proctor.analysis import API_VERSION, Assessment, Durations, Episodes, FrameBatch, Group, Hysteresis


class Upright:
    """Keeps to the contract: no hands in view. Each analyzer below goes astray in one place."""

    api_version = API_VERSION
    title = "Upright"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        concern_seconds: float = 60.0

    class State(msgspec.Struct):
        episodes: Episodes = msgspec.field(default_factory=Episodes)
        counted: int = 0
        kept: Any = None

    def __init__(self, settings: Any) -> None:
        self.rule = Durations(
            category="hands",
            group=Group.DEVICE,
            signal="hand_count",
            hysteresis=Hysteresis(persist_seconds=1.0),
            concern_seconds=settings.concern_seconds,
        )

    def evidence(self, frames: FrameBatch) -> Any:
        hands = frames["hand_count"]
        return np.where(np.isnan(hands), np.nan, hands == 0)

    def fold(self, state: Any, frames: FrameBatch) -> None:
        state.episodes.fold(frames, self.evidence(frames), self.rule.hysteresis)

    def assess(self, state: Any) -> Assessment:
        return self.rule.assess(state.episodes, lambda extent: f"No hand was in view for {extent}")


class CountsBatches(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.counted += 1

    def assess(self, state: Any) -> Assessment:
        return msgspec.structs.replace(super().assess(state), details={"batches": state.counted})


class LooksAtTheFrameBeforeInTheBatch(Upright):
    """The commonest mistake: the first frame of a batch is taken for the first of all."""

    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.counted += int((np.diff(np.nan_to_num(frames["face_present"]), prepend=0) > 0).sum())

    def assess(self, state: Any) -> Assessment:
        return msgspec.structs.replace(super().assess(state), details={"arrivals": state.counted})


class RemembersInSelf(Upright):
    seen = 0

    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        self.seen += len(frames)
        state.counted = self.seen


class RemembersInGlobals(Upright):
    seen: list[int] = []  # noqa: RUF012

    def assess(self, state: Any) -> Assessment:
        self.seen.append(1)
        return msgspec.structs.replace(super().assess(state), details={"asked": len(self.seen)})


class LosesTypes(Upright):
    """What MessagePack makes of a tuple is a list."""

    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.kept = (*(state.kept or ()), 1)[-5:] if isinstance(state.kept, tuple | None) else ()


class FailsOnNan(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.counted = int(frames["hand_count"][-1])


class TakesUnknownForZero(Upright):
    def evidence(self, frames: FrameBatch) -> Any:
        return (np.nan_to_num(frames["hand_count"]) == 0).astype(float)


class TakesUnknownForNo(Upright):
    """Finds nothing in it, but says that all was well."""

    def evidence(self, frames: FrameBatch) -> Any:
        return (frames["hand_count"] == 0).astype(float)


class LeavesItToChance(Upright):
    def assess(self, state: Any) -> Assessment:
        return msgspec.structs.replace(super().assess(state), details={"luck": random.random()})


class TrustsHashes(Upright):
    def assess(self, state: Any) -> Assessment:
        order = list({"gaze", "head", "hands", "face", "phone", "speech", "tabs"})
        return msgspec.structs.replace(super().assess(state), details={"order": order})


class TakesItsTime(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        if len(frames) >= 4_000:
            time.sleep(60)


class KeepsEachFrame(Upright):
    """Nine bytes each, which is still few enough after an hour."""

    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.kept = [*(state.kept or []), *np.nan_to_num(frames["head_yaw"]).tolist()]


class ChangesStateInAssess(Upright):
    def assess(self, state: Any) -> Assessment:
        state.counted += 1
        return super().assess(state)


class MakesUpFrames(Upright):
    def assess(self, state: Any) -> Assessment:
        said = super().assess(state)
        findings = [msgspec.structs.replace(each, frame_ids=("0-0", "0-1", "0-2")) for each in said.findings]
        return msgspec.structs.replace(said, findings=findings)


class SpeaksOfOtherWindows(Upright):
    def assess(self, state: Any) -> Assessment:
        return msgspec.structs.replace(super().assess(state), window_strengths={10_000_000: 0.5})


class TellsTheLastFirst(Upright):
    def assess(self, state: Any) -> Assessment:
        said = super().assess(state)
        return msgspec.structs.replace(said, findings=said.findings[::-1])


class HasImpossibleDefaults(Upright):
    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        concern_seconds: Annotated[float, msgspec.Meta(le=10)] = 60.0


class ReadsAsciiOnly(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        for text in frames.text("gaze_direction"):
            (text or "").encode("ascii")


class DividesByTheLength(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.kept = len(frames) / float(frames.seconds[-1])


class NeedsAFrame(Upright):
    def fold(self, state: Any, frames: FrameBatch) -> None:
        super().fold(state, frames)
        state.kept = [float(frames.seconds[-1])]

    def assess(self, state: Any) -> Assessment:
        return msgspec.structs.replace(super().assess(state), details={"last": state.kept[-1]})
