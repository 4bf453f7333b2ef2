"""The parts of a report that are about the data and where it came from: what was observed, and from what."""

from typing import Annotated, Any

import msgspec

from proctor.analysis.api import Share

Rate = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(description="Seconds since the session's first frame.")]
Duration = Annotated[float, msgspec.Meta(ge=0, description="Length in seconds.")]
Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object of the report; it has exactly the keys listed."""


class Gap(Part, frozen=True, kw_only=True):
    """A time from which no frames came."""

    start_seconds: Seconds
    end_seconds: Seconds


class Gaps(Part, frozen=True, kw_only=True):
    """Silence between frames."""

    count: Count
    total_seconds: Duration
    longest: list[Gap]


class FrameCounts(Part, frozen=True, kw_only=True):
    """What became of the frames. Missing ones are lost time to observe, and count against nobody."""

    stored: Annotated[Count, msgspec.Meta(description="How many the session stored in all.")]
    analysed: Annotated[Count, msgspec.Meta(description="How many this report is about.")]
    missing: Annotated[
        Count, msgspec.Meta(description="How many were lost after they had been stored: the others.")
    ]


class ClockOffset(Part, frozen=True, kw_only=True):
    """Server's time minus client's, as it was corrected; a client's time may count from any epoch."""

    least_seconds: float
    greatest_seconds: float
    drift_ppm: Annotated[
        float | None,
        msgspec.Meta(description="Microseconds that the client's clock lost per second, gained if negative."),
    ]
    jumps: Annotated[
        Count, msgspec.Meta(description="How often the clock was set, or another client's came in.")
    ]


class DataQuality(Part, frozen=True, kw_only=True):
    """What could be observed. Never suspicion."""

    sufficient: Annotated[
        bool, msgspec.Meta(description="Enough was observed for the absence of findings to mean something.")
    ]
    observed_seconds: Duration
    session_seconds: Annotated[
        float, msgspec.Meta(ge=0, description="Start or first frame, to end or last frame.")
    ]
    coverage: Share
    before_first_frame_seconds: Duration
    after_last_frame_seconds: Duration
    frames: FrameCounts
    frames_per_second: Rate | None
    gaps: Gaps
    clock_offset: ClockOffset | None
    features_never_seen: list[str]


class FramesProvenance(Part, frozen=True, kw_only=True):
    """Which frames were judged."""

    count: Count
    first: str | None
    last: str | None
    digest: Annotated[
        str, msgspec.Meta(description="Hex; each frame's is SHA-256 over the one before it and the frame.")
    ]


class PolicyProvenance(Part, frozen=True, kw_only=True):
    """By which policy."""

    name: str
    digest: str
    values: Annotated[dict[str, Any], msgspec.Meta(description="Every setting, also those left at default.")]


class Provenance(Part, frozen=True, kw_only=True):
    """What this report follows from; equal inputs give equal reports."""

    proctor: str
    api_version: int
    frames: FramesProvenance
    policy: PolicyProvenance
    plugins: Annotated[
        dict[str, list[str]], msgspec.Meta(description="Versions and settings each analyzer ran with.")
    ]
    plugins_digest: str
    accommodations_digest: Annotated[
        str, msgspec.Meta(description="Of what was granted and when; empty if nothing was.")
    ]
