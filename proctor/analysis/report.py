"""The report on one session: a pure function of what was observed, what the analyzers said and the policy."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proctor import __version__
from proctor.accommodations import breaks_of, digest, overlap_ms
from proctor.analysis import schema, schema_data, wording
from proctor.analysis.api import API_VERSION, Finding, Group, Level
from proctor.analysis.facts import Facts, Section
from proctor.analysis.observation import Observation
from proctor.analysis.schema import Status
from proctor.analysis.variants import suppressed
from proctor.analysis.verdict import Judgement, Observed, Priority, judge
from proctor.analysis.windows import window_analysis
from proctor.times import iso_from_ms

CATEGORIES: Mapping[str, str] = {
    "phone_detections": "phone",
    "multiple_faces": "multiple_faces",
    "gaze_off_screen": "gaze",
    "extreme_head_movements": "head",
    "no_face_detected": "no_face",
}
"""Which findings stand under which key of `suspicious_events`."""


def build_report(facts: Facts, analysed_ms: int) -> schema.Report:
    """Judge and write down; `analysed_ms` is the time of the analysis, since the epoch."""
    findings = facts.findings
    quality = data_quality(facts)
    observed = Observed(quality.observed_seconds, quality.coverage)
    verdict = judge(findings, observed, facts.policy)
    granted = _granted(facts)
    suppressed = len({finding for each in granted for finding in each.suppressed})
    return schema.Report(
        session_info=_session_info(facts, analysed_ms),
        verdict=_verdict(facts, verdict, observed),
        window_analysis=window_analysis(facts),
        suspicious_events=_suspicious_events(findings),
        timeline=_timeline(facts, findings),
        recommendations=wording.recommendations(verdict, findings, quality, _troubles(facts), suppressed),
        findings=findings,
        contributions=_contributions(facts, findings, verdict, observed),
        shadow=_shadow(facts, findings, observed),
        accommodations=granted,
        data_quality=quality,
        analyzers={section.plugin.name: _analyzer(section) for section in facts.sections},
        provenance=_provenance(facts),
    )


def _session_info(facts: Facts, analysed_ms: int) -> schema.SessionInfo:
    session, observation = facts.session, facts.observation
    first, last = observation.first, observation.last
    return schema.SessionInfo(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        policy=facts.policy.name,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        first_frame_at=iso_from_ms(first.time_ms) if first else None,
        last_frame_at=iso_from_ms(last.time_ms) if last else None,
        duration_seconds=observation.length_ms / 1000,
        total_frames=observation.frames,
        final=facts.final,
        analysed_at=iso_from_ms(analysed_ms),
    )


def _verdict(facts: Facts, verdict: Judgement, observed: Observed) -> schema.Verdict:
    return schema.Verdict(
        is_cheating=verdict.priority is Priority.HIGH,
        score=verdict.score,
        review_priority=verdict.priority,
        confidence=facts.policy.verdict.calibration.of_verdict(verdict.score)
        if facts.observation.frames
        else None,
        confidence_level=verdict.band if facts.observation.frames else Priority.INSUFFICIENT,
        verdict_basis=wording.basis(verdict, observed, facts.policy, facts.titles),
    )


def _suspicious_events(findings: Sequence[Finding]) -> schema.SuspiciousEvents:
    by_category: dict[str, list[Finding]] = {category: [] for category in CATEGORIES.values()}
    for finding in findings:
        if finding.group is not Group.TECHNICAL:
            by_category.setdefault(finding.category, []).append(finding)
    summary = {
        category: schema.Tally(
            count=len(some),
            concerns=sum(finding.level is Level.CONCERN for finding in some),
            total_seconds=round(sum(finding.end_seconds - finding.start_seconds for finding in some), 3),
        )
        for category, some in by_category.items()
    }
    lists = {key: by_category[category] for key, category in CATEGORIES.items()}
    return schema.SuspiciousEvents(**lists, summary=summary)


def _timeline(facts: Facts, findings: Sequence[Finding]) -> list[schema.TimelineEntry]:
    if not facts.observation.frames:
        return []
    end = facts.observation.length_ms / 1000
    entries = [_entry(facts, "first_frame", 0.0, 0.0, "The first frame came in.")]
    entries += [
        _entry(facts, "gap", gap.start_ms / 1000, gap.end_ms / 1000, "No frames came in.")
        for gap in facts.observation.longest_gaps
    ]
    entries += [
        _entry(facts, "finding", each.start_seconds, each.end_seconds, each.message, each)
        for each in findings
    ]
    entries += [
        _entry(facts, "break", max(start, 0.0), min(stop, end), "A break was granted.")
        for start, stop in facts.break_seconds
        if start < end and stop > 0
    ]
    entries.append(_entry(facts, "last_frame", end, end, "The last frame came in."))
    return sorted(entries, key=lambda entry: entry.start_seconds)


def _entry(
    facts: Facts, kind: Any, start: float, end: float, message: str, finding: Finding | None = None
) -> schema.TimelineEntry:
    return schema.TimelineEntry(
        kind=kind,
        timestamp=facts.iso(start),
        start_seconds=start,
        end_seconds=end,
        event=finding.category if finding else kind,
        level=finding.level if finding else None,
        rule=finding.rule if finding else None,
        message=message,
    )


def _contributions(
    facts: Facts, findings: Sequence[Finding], verdict: Judgement, observed: Observed
) -> list[schema.Contribution]:
    packages = {section.plugin.name: section.plugin.package for section in facts.sections}
    contributions = []
    for share in verdict.shares:
        rest = [each for each in findings if (each.rule, each.group) != (share.rule, share.group)]
        without = judge(rest, observed, facts.policy)
        contributions.append(
            schema.Contribution(
                rule=share.rule,
                plugin=packages[share.rule],
                title=facts.titles[share.rule],
                group=share.group,
                points=share.points,
                points_max=share.points_max,
                counted=share.counted,
                concerns=share.concerns,
                infos=share.infos,
                without=schema.Counterfactual(score=without.score, review_priority=without.priority),
            )
        )
    return contributions


def _shadow(facts: Facts, findings: Sequence[Finding], observed: Observed) -> list[schema.ShadowReport]:
    reports = []
    for section in facts.sections:
        plugin, own = section.plugin, section.assessment.findings
        if facts.policy.on_trial(plugin.name) and section.status is Status.OK:
            verdict = judge([*findings, *own], observed, facts.policy.promoted(plugin.name))
            reports.append(
                schema.ShadowReport(
                    rule=plugin.name,
                    plugin=plugin.package,
                    title=section.title,
                    findings=own,
                    alerts=sum(finding.level is Level.CONCERN for finding in own),
                    with_it=schema.Counterfactual(score=verdict.score, review_priority=verdict.priority),
                )
            )
    return reports


def _granted(facts: Facts) -> list[schema.Granted]:
    by_id: dict[str, list[Finding]] = {each.id: [] for each in facts.accommodations}
    if facts.observation.first is not None:
        counting = [each for each in facts.sections if not facts.policy.on_trial(each.plugin.name)]
        for section in counting:
            lost = suppressed(section, facts.accommodations, facts.observation.first.time_ms)
            for name, findings in lost.items():
                by_id[name] += findings
    return [
        schema.Granted(
            description=wording.accommodation(each, facts.part(each)),
            accommodation=each,
            suppressed=sorted(by_id[each.id], key=lambda finding: (finding.start_seconds, finding.rule)),
        )
        for each in facts.accommodations
    ]


def data_quality(facts: Facts) -> schema_data.DataQuality:
    """Tell how much of the session was observed, and how well."""
    session, observation = facts.session, facts.observation
    first = observation.first.time_ms if observation.first else session.started_ms
    last = observation.last.time_ms if observation.last else first
    before_ms = max(0, first - session.started_ms)
    after_ms = 0 if session.ended_ms is None else max(0, session.ended_ms - last)
    # Between the frames as it was folded, for a break that was granted too late was observed.
    breaks = breaks_of(facts.accommodations)
    before_ms -= overlap_ms(breaks, first - before_ms, first)
    after_ms -= overlap_ms(breaks, last, last + after_ms)
    session_ms = before_ms + last - first - observation.rest_ms + after_ms
    observed = observation.observed_ms / 1000
    awake = observation.frames - observation.resting_frames
    coverage = round(observation.observed_ms / session_ms, 4) if session_ms else 0.0
    return schema_data.DataQuality(
        sufficient=Observed(observed, coverage).suffices(facts.policy.observation),
        observed_seconds=observed,
        session_seconds=session_ms / 1000,
        coverage=coverage,
        before_first_frame_seconds=before_ms / 1000,
        after_last_frame_seconds=after_ms / 1000,
        frames=schema_data.FrameCounts(
            stored=facts.stored, analysed=observation.frames, missing=facts.stored - observation.frames
        ),
        frames_per_second=round(awake / observed, 2) if observed else None,
        gaps=_gaps(observation),
        clock_offset=_clock_offset(observation),
        features_never_seen=observation.never_seen,
    )


def _gaps(observation: Observation) -> schema_data.Gaps:
    return schema_data.Gaps(
        count=observation.gaps,
        total_seconds=observation.gaps_ms / 1000,
        longest=[
            schema_data.Gap(start_seconds=gap.start_ms / 1000, end_seconds=gap.end_ms / 1000)
            for gap in observation.longest_gaps
        ],
    )


def _clock_offset(observation: Observation) -> schema_data.ClockOffset | None:
    if observation.clock_offsets_ms is None:
        return None
    least, greatest = observation.clock_offsets_ms
    course = observation.clock_course
    return schema_data.ClockOffset(
        least_seconds=least / 1000,
        greatest_seconds=greatest / 1000,
        drift_ppm=course.drift_ppm,
        jumps=course.jumps,
    )


def _analyzer(section: Section) -> schema.AnalyzerReport:
    return schema.AnalyzerReport(
        title=section.title,
        plugin=section.plugin.package,
        version=section.plugin.version,
        status=section.status,
        reason=section.reason or None,
        findings=len(section.assessment.findings),
        details=section.assessment.details,
    )


def _troubles(facts: Facts) -> list[str]:
    return [
        f"{section.title} ({section.reason})"
        for section in facts.sections
        if section.status in (Status.FAILED, Status.TIMED_OUT)
        and not facts.policy.on_trial(section.plugin.name)
    ]


def _provenance(facts: Facts) -> schema_data.Provenance:
    observation = facts.observation
    plugins = {section.plugin.name: list(section.versions) for section in facts.sections if section.versions}
    return schema_data.Provenance(
        proctor=__version__,
        api_version=API_VERSION,
        frames=schema_data.FramesProvenance(
            count=observation.frames,
            first=str(observation.first) if observation.first else None,
            last=str(observation.last) if observation.last else None,
            digest=observation.digest.hex(),
        ),
        policy=schema_data.PolicyProvenance(
            name=facts.policy.name, digest=facts.policy.digest, values=facts.policy.values
        ),
        plugins=plugins,
        accommodations_digest=digest(facts.accommodations),
        plugins_digest=hashlib.sha256(msgspec.json.encode(plugins, order="deterministic")).hexdigest(),
    )
