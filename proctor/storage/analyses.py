"""Reports as rows: what of them stands in columns, and what is known of a version without its report."""

from typing import Any

import msgspec

from proctor.analysis.api import Finding
from proctor.analysis.identity import digest_of, finding_keys
from proctor.times import ms_from_iso


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a session's report, without the report."""

    version: int
    """1 is the final report; each time the session is judged again has the next number."""
    policy: str
    analysed_ms: int
    score: float
    review_priority: str
    requested_by: str | None
    """None for the first, which nobody had to ask for."""
    reason: str | None


class _Verdict(msgspec.Struct):
    score: float
    review_priority: str
    is_cheating: bool
    confidence: float | None
    confidence_level: str
    verdict_basis: str


class _SessionInfo(msgspec.Struct):
    policy: str
    total_frames: int
    analysed_at: str


class _Report(msgspec.Struct):
    """What of a report goes into columns."""

    session_info: _SessionInfo
    verdict: _Verdict
    findings: list[Finding] = []


def report_columns(report: bytes) -> dict[str, Any]:
    """Return a report's row, but for the session it belongs to and its version."""
    said = msgspec.json.decode(report, type=_Report)
    return msgspec.structs.asdict(said.verdict) | {
        "report": report.decode(),
        "findings": digest_of(finding_keys(said.findings)),
        "policy": said.session_info.policy,
        "frames": said.session_info.total_frames,
        "analysed_ms": ms_from_iso(said.session_info.analysed_at),
    }
