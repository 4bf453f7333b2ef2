"""Everything that an analyzer plugin imports.

A plugin is a distribution with an entry point in the group `proctor.analyzers` that names a class like this::

    import msgspec
    import numpy as np
    from proctor.analysis import API_VERSION, Assessment, Durations, Episodes, FrameBatch, Group, Hysteresis


    class Hands:
        '''Nobody's hands are seen: they may be busy with something below the desk.'''

        api_version = API_VERSION
        title = "No hands in view"

        class Settings(msgspec.Struct, frozen=True):
            concern_seconds: float = 60.0

        class State(msgspec.Struct):
            episodes: Episodes = msgspec.field(default_factory=Episodes)

        def __init__(self, settings: Settings) -> None:
            self.rule = Durations(
                category="hands",
                group=Group.DEVICE,
                signal="hand_count",
                hysteresis=Hysteresis(persist_seconds=20.0),
                concern_seconds=settings.concern_seconds,
            )

        def fold(self, state: State, frames: FrameBatch) -> None:
            hands = frames["hand_count"]  # NaN where unknown, and unknown stays unknown
            evidence = np.where(np.isnan(hands), np.nan, hands == 0)
            state.episodes.fold(frames, evidence, self.rule.hysteresis)

        def assess(self, state: State) -> Assessment:
            return self.rule.assess(state.episodes, lambda length: f"No hand was in view for {length}")

The policy's table `[rules.ENTRY_NAME]` fills `Settings`; findings, windows and the score follow from what
`assess` returns. Its `details`, any JSON values, are the analyzer's own section of the report: the value of
`analyzers.ENTRY_NAME.details`, shown under the analyzer's title in reports as text and HTML.

`proctor plugins new NAME` writes a distribution to begin with, and :mod:`proctor.testing` helps to test it.
Importing this package loads neither the server nor an event loop.
"""

from proctor.analysis.api import (
    API_VERSION,
    WINDOW_SECONDS,
    Analyzer,
    Assessment,
    Calm,
    Finding,
    Group,
    Level,
    Observed,
)
from proctor.analysis.baseline import Baseline
from proctor.analysis.durations import Durations
from proctor.analysis.episodes import Episode, EpisodeLog, Episodes, Hysteresis
from proctor.analysis.frames import EngineEvent, FrameBatch

__all__ = [
    "API_VERSION",
    "WINDOW_SECONDS",
    "Analyzer",
    "Assessment",
    "Baseline",
    "Calm",
    "Durations",
    "EngineEvent",
    "Episode",
    "EpisodeLog",
    "Episodes",
    "Finding",
    "FrameBatch",
    "Group",
    "Hysteresis",
    "Level",
    "Observed",
]
