"""What a report follows from, before anybody judges it."""

from collections.abc import Sequence
from typing import NamedTuple

from proctor.accommodations import ALWAYS_MS, AnyAccommodation, breaks_of
from proctor.analysis.api import Assessment, Finding
from proctor.analysis.discovery import Plugin
from proctor.analysis.observation import Observation
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Status
from proctor.model import ExamSession
from proctor.times import iso_from_ms


class Section(NamedTuple):
    """What became of one analyzer."""

    plugin: Plugin
    title: str
    status: Status
    reason: str = ""
    """Why the status is not ok, or what to keep in mind though it is."""
    versions: Sequence[str] = ()
    """Versions and settings that it ran with."""
    assessment: Assessment = Assessment(findings=[])
    plain: Assessment | None = None
    """What the rule says of anybody; None where no accommodation makes it judge otherwise."""


class Facts(NamedTuple):
    """Everything that a report follows from."""

    session: ExamSession
    observation: Observation
    sections: Sequence[Section]
    policy: Policy
    final: bool
    accommodations: Sequence[AnyAccommodation] = ()
    stored: int = 0
    """How many frames the session ever stored; the analysed ones are in the observation."""

    @property
    def findings(self) -> list[Finding]:
        """All findings in order of time, whoever made them, but for rules on trial."""
        found = [
            finding
            for section in self.sections
            if not self.policy.on_trial(section.plugin.name)
            for finding in section.assessment.findings
        ]
        return sorted(found, key=lambda each: (each.start_seconds, each.end_seconds, each.rule))

    @property
    def titles(self) -> dict[str, str]:
        """Each rule's title."""
        return {section.plugin.name: section.title for section in self.sections}

    @property
    def break_seconds(self) -> list[tuple[float, float]]:
        """The breaks that were granted, in seconds since the first frame."""
        origin = self.observation.first.time_ms if self.observation.first else self.session.started_ms
        return [
            ((start - origin) / 1000, (end - origin) / 1000) for start, end in breaks_of(self.accommodations)
        ]

    def part(self, accommodation: AnyAccommodation) -> tuple[float, float | None] | None:
        """Return from when to when it holds, in seconds since the first frame.

        No end means the session's; None, all of the session so far.
        """
        first = self.observation.first
        start, end = accommodation.span_ms
        if first is None or (start <= first.time_ms and end == ALWAYS_MS):
            return None
        return max(start - first.time_ms, 0) / 1000, None if end == ALWAYS_MS else (
            end - first.time_ms
        ) / 1000

    def iso(self, seconds: float) -> str:
        """Write a time that is counted from the first frame as a date and time."""
        first = self.observation.first
        return iso_from_ms((first.time_ms if first else self.session.started_ms) + round(seconds * 1000))
