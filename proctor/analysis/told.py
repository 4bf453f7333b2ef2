"""What is read of a report to compare it, which may be one of an earlier Proctor."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from proctor.accommodations import AnyAccommodation
from proctor.analysis.api import Finding
from proctor.errors import InvalidRequest


class Granted(msgspec.Struct):
    """An accommodation, and what it set aside."""

    accommodation: AnyAccommodation
    suppressed: list[Finding] = []
    description: str | None = None

    @property
    def words(self) -> str:
        """What was granted; of reports without a description no more than its type."""
        return self.description or str(type(self.accommodation).__struct_config__.tag)


class SessionInfo(msgspec.Struct):
    """Whose report it is, and by which policy."""

    session_id: str
    policy: str


class Verdict(msgspec.Struct):
    """What it comes to."""

    score: int | float
    review_priority: str
    is_cheating: bool
    confidence: float | UnsetType | None = UNSET


class Contribution(msgspec.Struct):
    """What one rule adds."""

    rule: str
    points: int


class AnalyzerTold(msgspec.Struct):
    """What became of one rule."""

    status: str
    title: str = ""
    reason: str | UnsetType | None = UNSET


class FrameCountsTold(msgspec.Struct):
    """How many frames there were."""

    stored: int = 0


class DataQualityTold(msgspec.Struct):
    """What could be observed."""

    frames: FrameCountsTold = msgspec.field(default_factory=FrameCountsTold)


class FramesTold(msgspec.Struct):
    """Which frames were judged."""

    count: int
    digest: str


class PolicyTold(msgspec.Struct):
    """By which policy."""

    digest: str
    values: dict[str, Any] = {}


class ProvenanceTold(msgspec.Struct):
    """What the report follows from."""

    proctor: str
    frames: FramesTold
    policy: PolicyTold
    plugins: dict[str, list[str]] | UnsetType = UNSET


class Told(msgspec.Struct):
    """A report, as far as it is compared key by key."""

    session_info: SessionInfo
    verdict: Verdict
    findings: list[Finding]
    contributions: list[Contribution]
    analyzers: dict[str, AnalyzerTold]
    provenance: ProvenanceTold
    accommodations: list[Granted] = []
    data_quality: DataQualityTold = msgspec.field(default_factory=DataQualityTold)

    @classmethod
    def read(cls, report: bytes) -> "Told":
        """Read a report. Raises InvalidRequest for what is none."""
        try:
            return msgspec.json.decode(report, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"not a report: {error}", field="report") from error
