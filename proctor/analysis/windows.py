"""The session in windows of ten seconds: how strong the evidence is in each, and where there can be none."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from proctor.analysis import schema
from proctor.analysis.api import WINDOW_SECONDS, Group
from proctor.analysis.facts import Facts, Section
from proctor.analysis.observation import WINDOW_MS, WINDOWS_MAX, Window
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Status


def window_analysis(facts: Facts) -> schema.WindowAnalysis:
    """Sum up the rules' evidence by window; a window that no rule could judge has no confidence."""
    kept = facts.observation.windows
    total = facts.observation.length_ms // WINDOW_MS + 1 if kept else 0
    listed = range(total) if total <= WINDOWS_MAX else sorted(kept)
    strengths, observable = window_evidence(facts, kept.keys())
    windows = [
        _window(index, kept.get(index), strengths.get(index, {}), index in observable, facts.policy)
        for index in listed
    ]
    judged = [window.confidence for window in windows if window.confidence is not None]
    flagged = sum(window.is_cheating for window in windows)
    return schema.WindowAnalysis(
        window_seconds=WINDOW_SECONDS,
        total_windows=total,
        windows_observed=len(judged),
        windows_flagged=flagged,
        percentage_flagged=round(100 * flagged / len(judged), 1) if judged else None,
        max_confidence=max(judged, default=None),
        mean_confidence=round(sum(judged) / len(judged), 3) if judged else None,
        predictions_per_window=windows,
    )


def window_evidence(facts: Facts, kept: AbstractSet[int]) -> tuple[dict[int, dict[str, float]], set[int]]:
    """Return, of the windows in `kept`, the strengths per window and rule, and which any rule could judge.

    `kept` are windows that had frames.
    """
    strengths: dict[int, dict[str, float]] = {}
    observable: set[int] = set()
    for section in facts.sections:
        if section.status is not Status.OK or not _scores(section, facts.policy):
            continue
        said = section.assessment
        observable.update(kept if said.observed_windows is None else said.observed_windows)
        for index, strength in said.window_strengths.items():
            if strength > 0 and index in kept:
                strengths.setdefault(index, {})[section.plugin.name] = round(strength, 3)
    breaks = facts.break_seconds
    return strengths, {index for index in observable & kept if not _in_break(index, breaks)}


def _in_break(index: int, break_seconds: Sequence[tuple[float, float]]) -> bool:
    start, end = index * WINDOW_SECONDS, (index + 1) * WINDOW_SECONDS
    return any(begin <= start and end <= stop for begin, stop in break_seconds)


def _scores(section: Section, policy: Policy) -> bool:
    """Return whether a rule's evidence counts; one with nothing but technical findings is about the data."""
    groups = {finding.group for finding in section.assessment.findings} or set(Group)
    return any(policy.points(section.plugin.name, group) > 0 for group in groups)


def _window(
    index: int, kept: Window | None, strengths: Mapping[str, float], observable: bool, policy: Policy
) -> schema.WindowVerdict:
    # The strongest, not a sum: rules of one group see the same thing.
    strength = max(strengths.values(), default=0.0)
    confidence = policy.verdict.calibration.of_window(strength) if observable else None
    return schema.WindowVerdict(
        window_id=index,
        start_seconds=index * WINDOW_SECONDS,
        end_seconds=(index + 1) * WINDOW_SECONDS,
        is_cheating=confidence is not None and confidence >= policy.verdict.window_confidence,
        confidence=confidence,
        start_frame=str(kept.first) if kept else None,
        end_frame=str(kept.last) if kept else None,
        frames=kept.frames if kept else 0,
        rules=dict(strengths) if observable else {},
    )
