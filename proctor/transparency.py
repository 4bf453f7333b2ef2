"""What is kept about a candidate and what it says, told to the candidate in plain words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.verdict import Priority
from proctor.analysis.wording import clock, counted, length
from proctor.features import VOCABULARY
from proctor.model import ExamSession
from proctor.review import Review, ReviewState
from proctor.settings import Settings
from proctor.times import iso_from_ms, ms_from_iso

_DAY_MS = 24 * 3600 * 1000

_MEASURED: Mapping[str, tuple[str, ...]] = {
    "whether and where a face is in the picture": ("face_", "no_of_face", "nose_", "mouth_"),
    "where the eyes are and where they look": ("left_eye", "right_eye", "pupil_", "gaze"),
    "how the head is turned": ("head_",),
    "where hands are": ("hand_", "left_hand", "right_hand"),
    "whether there is something like a phone": ("phone_",),
}
"""What the browser measures, by how the names of the features begin."""

_NOTICED: Mapping[str, str] = {
    "phone": "Something like a phone was in the picture",
    "multiple_faces": "More than one face was in the picture",
    "no_face": "Your face was not in the picture",
    "gaze": "You seemed to look away from the screen",
    "head": "Your head was turned away",
    "window": "You were outside the exam's window",
    "clipboard": "Something was copied or pasted",
    "speech": "You seemed to speak",
}
"""By category; of others the rule's own words are shown."""

_VERDICTS: Mapping[Priority, str] = {
    Priority.NONE: "Nothing was noticed that asks for a closer look.",
    Priority.LOW: "Little was noticed. If somebody looks at it, a glance is enough.",
    Priority.MEDIUM: "Some things were noticed that a person should look at.",
    Priority.HIGH: "Things were noticed that a person should look at soon.",
    Priority.INSUFFICIENT: "Too little could be observed to say anything, neither for you nor against you. "
    "That is no fault of yours.",
}

_REVIEWS: Mapping[ReviewState, str] = {
    ReviewState.OPEN: "Nobody has decided anything about your session. People decide, never this program.",
    ReviewState.AWAITING_SECOND: "A person has looked at your session, and a second one will, without "
    "knowing what the first thought. People decide, never this program.",
    ReviewState.DECIDED: "People have looked at your session and closed the review. Your institution tells "
    "you what came of it.",
}


class Stored(msgspec.Struct, frozen=True):
    """One kind of thing that is kept."""

    what: str
    detail: str


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


def disclose(session: ExamSession, report: bytes, review: Review, settings: Settings) -> Disclosure:
    """Return what a candidate is shown of an ended session."""
    told = msgspec.json.decode(report, type=_Told)
    said = review.statement
    return Disclosure(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        stored=list(_stored(session, told, settings)),
        verdict=list(_verdict(told)),
        noticed=[_noticed(each, told) for each in told.findings if each.level is Level.CONCERN],
        besides=list(_besides(told)),
        unknown=list(_unknown(told.data_quality)),
        granted=list(_granted(told.accommodations)),
        review=_REVIEWS[review.state],
        statement=None if said is None else said.note,
        statement_at=None if said is None else iso_from_ms(said.at_ms),
        open=review.state is not ReviewState.DECIDED,
    )


def _stored(session: ExamSession, told: _Told, settings: Settings) -> Iterator[Stored]:
    yield Stored("Pictures and sound", "None. They never left your browser.")
    measured = [words for words, starts in _MEASURED.items() if _was_seen(starts, told)]
    detail = f"{counted(told.session_info.total_frames, 'measurement')} that your browser made"
    if measured:
        detail += f": {'; '.join(measured)}"
    yield Stored("Measurements", f"{detail}; and what happened in the exam's page, such as leaving it.")
    if session.dumped:
        kept = _until(session.ended_ms, settings.dump_retention_days)
        yield Stored("How long measurements are kept", kept)
    else:
        yield Stored("How long measurements are kept", "They have been deleted. Only the report is left.")
    kept = _until(session.ended_ms, settings.report_retention_days)
    yield Stored("The report and its review", f"With what people noted who reviewed it. {kept}")
    for name, value in session.metadata.items():
        yield Stored(f"From your institution: {name}", _plain(value))


def _was_seen(starts: tuple[str, ...], told: _Told) -> bool:
    unseen = set(told.data_quality.features_never_seen)
    return told.session_info.total_frames > 0 and any(
        name.startswith(starts) and name not in unseen for name in VOCABULARY
    )


def _until(ended_ms: int | None, days: float) -> str:
    if not days or ended_ms is None:
        return "Kept until your institution deletes it."
    return f"Deleted on {iso_from_ms(ended_ms + round(days * _DAY_MS))[:10]}."


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _verdict(told: _Told) -> Iterator[str]:
    yield _VERDICTS[told.verdict.review_priority]
    counting = [share for share in told.contributions if share.points]
    shares = [f"{share.title} ({counted(share.points, 'point')})" for share in counting]
    if shares:
        yield f"Your session has {told.verdict.score:.0f} of 100 points. They come from: {', '.join(shares)}."
    yield "Points only say which sessions people look at first, and not that you did anything wrong."


def _noticed(finding: Finding, told: _Told) -> Noticed:
    first = told.session_info.first_frame_at
    begun_ms = ms_from_iso(first) if first else 0
    return Noticed(
        words=_words(finding, told),
        at=iso_from_ms(begun_ms + round(finding.start_seconds * 1000)),
        clock=clock(finding.start_seconds),
        lasted=length(finding.end_seconds - finding.start_seconds),
    )


def _words(finding: Finding, told: _Told) -> str:
    if finding.category in _NOTICED:
        return _NOTICED[finding.category]
    titled = told.analyzers.get(finding.rule)
    return f"{titled.title}: {finding.message}" if titled is not None and titled.title else finding.message


def _besides(told: _Told) -> Iterator[str]:
    """Say once of each kind of thing how often it was and how long."""
    infos = [each for each in told.findings if each.level is Level.INFO]
    for technical in (False, True):
        kinds: dict[str, list[Finding]] = {}
        for each in infos:
            if (each.group is Group.TECHNICAL) is technical:
                kinds.setdefault(_kind(each, told), []).append(each)
        for words, some in kinds.items():
            seconds = sum(each.end_seconds - each.start_seconds for each in some)
            often = counted(len(some), "time")
            weight = "never counts" if technical else "weighs little, as everybody does it now and then"
            yield f"{words}: {often}, {length(seconds)} in all. That {weight}."


def _kind(finding: Finding, told: _Told) -> str:
    titled = told.analyzers.get(finding.rule)
    return _NOTICED.get(finding.category) or (titled.title if titled is not None else "") or finding.category


def _unknown(quality: _Quality) -> Iterator[str]:
    missing = quality.session_seconds - quality.observed_seconds
    if missing >= 1:
        yield (
            f"Of {length(quality.session_seconds)}, {length(missing)} could not be observed, for example "
            "because the connection was slow. That does not count against you."
        )


def _granted(granted: Sequence[_Granted]) -> Iterator[str]:
    for each in granted:
        aside = len(each.suppressed)
        because = f" Because of it, {counted(aside, 'finding')} did not count." if aside else ""
        yield f"{each.description or 'An accommodation'}.{because}"
