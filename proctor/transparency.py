"""What is kept about a candidate and what it says, told to the candidate in plain words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup, escape

from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.verdict import Priority
from proctor.analysis.wording import clock, length
from proctor.features import VOCABULARY
from proctor.model import ExamSession
from proctor.review import Review, ReviewState
from proctor.settings import Settings
from proctor.times import iso_from_ms, ms_from_iso

_DAY_MS = 24 * 3600 * 1000

_MEASURED: Mapping[str, tuple[str, ...]] = {
    "face": ("face_", "no_of_face", "nose_", "mouth_"),
    "eyes": ("left_eye", "right_eye", "pupil_", "gaze"),
    "head": ("head_",),
    "hands": ("hand_", "left_hand", "right_hand"),
    "phone": ("phone_",),
}
"""What the browser measures, by how the names of the features begin."""

Words = Mapping[str, Any]
"""Texts in the reader's language: the table `transparency` of the pages' texts."""


class Stored(msgspec.Struct, frozen=True):
    """One kind of thing that is kept."""

    what: str
    detail: str
    until: str | None = None
    """When it is deleted (ISO 8601, UTC), if that is known; else the detail says what there is to say."""


class Noticed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should look at."""

    words: str
    at: str
    """ISO 8601, UTC."""
    clock: str
    """Time since the first frame, e.g. `0:12:05`."""
    lasted: str


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """All that a candidate is shown."""

    session_id: str
    candidate_id: str | None
    exam_id: str | None
    started_at: str
    ended_at: str | None
    stored: list[Stored]
    verdict: list[str]
    noticed: list[Noticed]
    besides: list[str]
    """What was noticed and weighs little or nothing, in sentences."""
    unknown: list[str]
    """What could not be observed, in sentences."""
    granted: list[str]
    review: str
    statement: str | None
    statement_at: str | None
    open: bool
    """Whether a statement can be made, or changed."""


class _Info(msgspec.Struct):
    total_frames: int = 0
    first_frame_at: str | None = None
    last_frame_at: str | None = None


class _Verdict(msgspec.Struct):
    score: float
    review_priority: Priority


class _Share(msgspec.Struct):
    title: str = ""
    points: int = 0


class _Granted(msgspec.Struct):
    description: str = ""
    suppressed: list[Finding] = []


class _Quality(msgspec.Struct):
    observed_seconds: float = 0
    session_seconds: float = 0
    features_never_seen: list[str] = []


class _Titled(msgspec.Struct):
    title: str = ""


class _Told(msgspec.Struct):
    """What of a report a candidate is told, which may be one of an earlier Proctor."""

    verdict: _Verdict
    session_info: _Info = msgspec.field(default_factory=_Info)
    findings: list[Finding] = []
    contributions: list[_Share] = []
    accommodations: list[_Granted] = []
    data_quality: _Quality = msgspec.field(default_factory=_Quality)
    analyzers: dict[str, _Titled] = {}


def disclose(
    session: ExamSession, report: bytes, review: Review, settings: Settings, words: Words
) -> Disclosure:
    """Return what a candidate is shown of an ended session."""
    told = msgspec.json.decode(report, type=_Told)
    said = review.statement
    return Disclosure(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        stored=list(_stored(session, told, settings, words)),
        verdict=list(_verdict(told, words)),
        noticed=[_noticed(each, told, words) for each in told.findings if each.level is Level.CONCERN],
        besides=list(_besides(told, words)),
        unknown=list(_unknown(told.data_quality, words)),
        granted=list(_granted(told.accommodations, words)),
        review=words["reviews"][review.state],
        statement=None if said is None else said.note,
        statement_at=None if said is None else iso_from_ms(said.at_ms),
        open=review.state is not ReviewState.DECIDED,
    )


def _stored(session: ExamSession, told: _Told, settings: Settings, words: Words) -> Iterator[Stored]:
    """Tell all that the README's "What is kept" lists and that may be there once a session has ended."""
    yield Stored(words["pictures"], words["no_pictures"])
    measured = [words["measured"][name] for name, starts in _MEASURED.items() if _was_seen(starts, told)]
    counted = words["frames"].format(n=told.session_info.total_frames)
    parts = [*measured, words["happenings"], words["others"]]
    yield Stored(words["measurements"], f"{counted}: {'; '.join(parts)}.")
    if session.dumped:
        days = min(filter(None, (settings.dump_retention_days, settings.report_retention_days)), default=0)
        yield _kept(words["measurements_kept"], "", session.ended_ms, days, words)
    else:
        yield Stored(words["measurements_kept"], words["deleted"])
    buffer = length(settings.frame_buffer_retention_seconds)
    yield Stored(words["buffer"], words["buffer_holds"].format(length=buffer))
    for name in ("session_kept", "report_kept", "milestones"):
        holds = words[f"{name}_holds"]
        yield _kept(words[name], holds, session.ended_ms, settings.report_retention_days, words)
    told_others = words["webhooks_hold"].format(days=f"{settings.webhook_retention_days:g}")
    yield Stored(words["webhooks"], told_others)
    trail = settings.audit_retention_days
    kept = words["trail_days"].format(days=f"{trail:g}") if trail else words["trail_for_good"]
    yield Stored(words["trail"], f"{words['trail_holds']} {kept}")
    yield Stored(words["log"], words["log_holds"])
    for name, value in session.metadata.items():
        yield Stored(words["metadata"].format(name=name), _plain(value))


def _was_seen(starts: tuple[str, ...], told: _Told) -> bool:
    unseen = set(told.data_quality.features_never_seen)
    return told.session_info.total_frames > 0 and any(
        name.startswith(starts) and name not in unseen for name in VOCABULARY
    )


def _kept(what: str, holds: str, ended_ms: int | None, days: float, words: Words) -> Stored:
    """Tell of what is deleted so many days after the end; 0 for what is kept until somebody erases it."""
    if not days or ended_ms is None:
        return Stored(what, f"{holds} {words['kept']}".lstrip())
    return Stored(what, holds, iso_from_ms(ended_ms + round(days * _DAY_MS)))


def _english(text: str) -> Markup:
    """Mark what a report says as what it is, so that it is read aloud as English on every page."""
    return Markup('<span lang="en">{}</span>').format(text)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _verdict(told: _Told, words: Words) -> Iterator[str]:
    yield words["verdicts"][told.verdict.review_priority]
    counted = [share for share in told.contributions if share.points]
    if counted:
        shares = Markup("; ").join(
            Markup("{}: {}").format(_english(share.title), share.points) for share in counted
        )
        yield escape(words["points"]).format(score=round(told.verdict.score), shares=shares)
    yield words["no_guilt"]


def _noticed(finding: Finding, told: _Told, words: Words) -> Noticed:
    first = told.session_info.first_frame_at
    begun_ms = ms_from_iso(first) if first else 0
    return Noticed(
        words=words["noticed"].get(finding.category) or _own_words(finding, told),
        at=iso_from_ms(begun_ms + round(finding.start_seconds * 1000)),
        clock=clock(finding.start_seconds),
        lasted=length(finding.end_seconds - finding.start_seconds),
    )


def _own_words(finding: Finding, told: _Told) -> str:
    """Return how the rule itself puts it, of a category that is none of the usual ones."""
    titled = told.analyzers.get(finding.rule)
    title = f"{titled.title}: " if titled is not None and titled.title else ""
    return _english(f"{title}{finding.message}")


def _besides(told: _Told, words: Words) -> Iterator[str]:
    """Say once of each kind of thing how often it was and how long."""
    kinds: dict[tuple[bool, str], list[Finding]] = {}
    for each in told.findings:
        if each.level is Level.INFO:
            titled = told.analyzers.get(each.rule)
            own = titled.title if titled is not None and titled.title else each.category
            kind = words["noticed"].get(each.category) or _english(own)
            kinds.setdefault((each.group is Group.TECHNICAL, kind), []).append(each)
    for (technical, kind), some in sorted(kinds.items()):
        seconds = sum(each.end_seconds - each.start_seconds for each in some)
        form = words["technical"] if technical else words["in_passing"]
        yield escape(form).format(what=kind, n=len(some), length=length(seconds))


def _unknown(quality: _Quality, words: Words) -> Iterator[str]:
    missing = quality.session_seconds - quality.observed_seconds
    if missing >= 1:
        yield words["unobserved"].format(length=length(quality.session_seconds), missing=length(missing))


def _granted(granted: Sequence[_Granted], words: Words) -> Iterator[str]:
    for each in granted:
        yield _english(each.description) if each.description else words["accommodation"]
        if each.suppressed:
            yield words["set_aside"].format(n=len(each.suppressed))
