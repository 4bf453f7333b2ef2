"""The contract between Proctor and analyzer plugins.

An analyzer is a fold over a session's frames. Proctor constructs it with its settings from the exam policy,
gives it the frames in time order in batches of any size, keeps its state between them (encoded, so another
process or a restarted server can go on), and asks it to assess that state whenever somebody wants a report.
Batches are cut wherever the frames happened to arrive, so an analyzer must give the same findings however
they are cut; :class:`proctor.analysis.episodes.Episodes` does this for rules about durations.
"""

from enum import StrEnum
from typing import Annotated, Any, Protocol

import msgspec

from proctor.analysis.frames import FrameBatch

API_VERSION = 1
"""Version of this contract. A plugin states the one it was written for in `api_version`."""

WINDOW_SECONDS = 10.0
"""Length of the report's windows, counted from the session's first frame."""

# Proctor holds what an analyzer returns to these bounds; NaN is outside all of them.
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
FrameIdText = Annotated[str, msgspec.Meta(pattern=r"^\d+-\d+$")]


class Level(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    """Worth seeing next to other evidence; scores little."""
    CONCERN = "concern"
    """Worth a reviewer's look by itself."""


class Group(StrEnum):
    """Signals with one common cause. Within a group only the strongest counts, across groups they add."""

    ATTENTION = "attention"
    """Where the candidate looks: gaze and head."""
    PRESENCE = "presence"
    """Whether the candidate is there."""
    PEOPLE = "people"
    """Somebody else is there."""
    DEVICE = "device"
    """A phone or another forbidden object."""
    WORKSPACE = "workspace"
    """The exam window: tabs, focus, clipboard."""
    SPEECH = "speech"
    """Talking."""
    TECHNICAL = "technical"
    """Camera and connection. Shown, never scored."""


class Observed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What was measured against what, so that a reader can redo the judgement."""

    signal: str
    """Feature or event name, e.g. `phone_present`."""
    value: float | None
    threshold: float | None
    baseline: float | None = None
    """The candidate's own normal value, where the rule compares with it."""
    deviation: float | None = None
    """How far from `baseline` the signal has to be to count, in the signal's own unit."""
    unit: str
    """`s`, `1` (a ratio or share), `px`, `events`, `faces` …"""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was seen, from when to when, how strongly. Times are seconds since the first frame."""

    category: str
    """What it is about, in the field's terms: `phone`, `multiple_faces`, `no_face`, `gaze`, `head` …"""
    group: Group
    level: Level
    start_seconds: Seconds
    end_seconds: Seconds
    """Not before `start_seconds` and not after the session's last frame."""
    strength: Share
    """0 to 1: how far beyond its threshold, saturating. Never a probability of cheating."""
    message: str
    """One sentence for the reviewer, without accusation."""
    frame_ids: tuple[FrameIdText, FrameIdText, FrameIdText]
    """First, worst (strongest evidence) and last frame."""
    observed: Observed
    rule: str = ""
    """Entry-point name of the analyzer; Proctor fills it in."""
    plugin: str = ""
    """Distribution that brought the analyzer; Proctor fills it in."""


class Calm(msgspec.Struct, frozen=True, kw_only=True):
    """What has to happen before frames can bring another concern. Only how soon people hear depends on it."""

    seconds: Seconds
    """None comes of frames less than so long after the newest one, unless they are events …"""
    after_change_of: tuple[str, ...] = ()
    """… or, where features are named, after the first frame that says otherwise of one of them."""
    under_way: bool = False
    """Something goes on that is a concern by then if it does not end; others are looked at later."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What one analyzer has to say about a session so far. A pure function of its state."""

    findings: list[Finding]
    """In order of time. Those of a behaviour that is still going on end at the last frame."""
    window_strengths: dict[int, Share] = msgspec.field(default_factory=dict)
    """Window index (start_seconds // 10) to the strongest evidence in it; windows without any are absent."""
    observed_windows: list[int] | None = None
    """Windows in which the signal could be judged at all; None means wherever there were frames."""
    details: dict[str, Any] = msgspec.field(default_factory=dict)
    """The analyzer's own section of the report: JSON values under keys of its choice."""
    calm: Calm | None = None
    """Until when the session need not be looked at for this analyzer; None: any frame may bring a concern.
    `Durations.assess` says so by itself. With many sessions it decides how soon proctors hear of those that
    cannot wait."""


class Analyzer(Protocol):
    """One rule. The class is what an entry point of the group `proctor.analyzers` names.

    `Settings` and `State` are `msgspec.Struct` types whose fields all have defaults. The policy's table
    `[rules.ENTRY_NAME]` fills `Settings` (unknown keys and out-of-range values stop the server with the place
    of the mistake); `State()` is the state before the first frame. State is encoded with MessagePack between
    batches.

    An analyzer runs in a worker process: it may import what it likes, must not keep anything outside its
    state, and has `analysis_timeout_seconds` per batch. If it raises, hangs or dies, its own section of the
    report says so and all others stand. `pytest --pyargs proctor.testing` holds analyzers to all of this.
    """

    api_version: int
    title: str
    """A few words for the report, e.g. `Phone in view`."""

    # Properties, for only these can be classes within a class; no analyzer need write them so.
    @property
    def Settings(self) -> type[msgspec.Struct]:
        """What a policy may set."""
        ...

    @property
    def State(self) -> type[msgspec.Struct]:
        """What is kept between batches."""
        ...

    def __init__(self, settings: Any) -> None: ...

    def fold(self, state: Any, frames: FrameBatch) -> None:
        """Take in the next frames, in time order, by changing `state`. Never called with an empty batch."""
        ...

    def assess(self, state: Any) -> Assessment:
        """Say what follows from `state`, without changing it."""
        ...
