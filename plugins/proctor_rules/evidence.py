"""From features and engine events to evidence: 1 for, 0 against, NaN for unknown."""

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.api import Assessment
from proctor.analysis.episodes import Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch

Column = NDArray[np.float64]
Flags = NDArray[np.bool_]

HINT = 0.3
"""Evidence that nothing else bears out: it sets windows apart and never makes a finding."""


REST_SECONDS = 3600.0
"""How long a rule rests as long as nothing happens that it is about."""

FRAMES_MIN = 3
"""What a detector sees in fewer frames is no concern, however far apart they are."""


def either(yes: NDArray[np.bool_], no: NDArray[np.bool_]) -> Column:
    """1 where `yes`, 0 where only `no`, unknown elsewhere."""
    return np.where(yes, 1.0, np.where(no, 0.0, np.nan))


def or_events(frames: FrameBatch, evidence: Column, names: Collection[str]) -> Column:
    """Fill in what is unknown from what the browser engine states: 1 in the frames of these events."""
    stated = np.full(len(frames), np.nan)
    stated[[event.place for event in frames.events if event.name in names]] = 1.0
    return np.where(np.isnan(evidence), stated, evidence)


_LEAVE_SHARE = 0.7
"""What began with enough confidence goes on with so much of it, or a detector's wavering would cut it up."""


def by_confidence(settings: Any) -> Hysteresis:
    """Return when what a detector reports, as :func:`confident` weighs it, begins and ends."""
    return Hysteresis(
        persist_seconds=settings.info_seconds,
        merge_seconds=settings.merge_seconds,
        enter=settings.confidence_min,
        leave=settings.confidence_min * _LEAVE_SHARE,
        sure=True,
    )


def calm_while_absent(assessment: Assessment, state: Episodes, *features: str) -> Assessment:
    """Let a rule wait for these features to change while what it is about is not there."""
    if assessment.calm is None or (state.newest is not None and state.newest.evidence > 0):
        return assessment
    calm = msgspec.structs.replace(assessment.calm, after_change_of=features)
    return msgspec.structs.replace(assessment, calm=calm)


def confident(present: Column, confidence: Column) -> Column:
    """Weigh a detection by its confidence (0-100) where there is one; what is absent stays 0."""
    return np.where(present > 0, np.where(np.isnan(confidence), 1.0, confidence / 100), present)
