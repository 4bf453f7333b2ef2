"""One analyzer's part of a session: its state between batches, and every call into it.

An analyzer that raises or says what it must not is off for the rest of the session, and the slot keeps why.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from proctor.analysis.api import Assessment, Finding
from proctor.analysis.discovery import Plugin
from proctor.analysis.facts import Section
from proctor.analysis.frames import FrameBatch
from proctor.analysis.policy import Rule
from proctor.analysis.schema import Status

STATE_MAX_BYTES = 1 << 20
ASSESSMENT_MAX_BYTES = 1 << 20
"""Most that one analyzer may keep, or say, so that it cannot fill the store that keeps it."""

REASON_MAX_CHARACTERS = 300
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")

Guard = Callable[[], AbstractContextManager[None]]
"""Entered around each call into an analyzer; in a worker process it is a deadline."""


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """Why an analyzer is off for the rest of a session."""

    status: Status
    reason: str


class Slot(msgspec.Struct):
    """What is kept of one analyzer."""

    since: int
    """How many frames had been folded when it joined; more than 0 if it was installed during the session."""
    state: bytes = b""
    """Its own State, as MessagePack; empty before the first frame."""
    versions: list[str] = msgspec.field(default_factory=list)
    """Version and settings that it ran with, each when it first did."""
    fault: Fault | None = None

    def switch_off(self, fault: Fault) -> None:
        """Let it rest for the remainder of the session; the first reason stands."""
        self.state, self.fault = b"", self.fault or fault

    @property
    def remark(self) -> str:
        """What a reader should keep in mind although all went well."""
        remarks = []
        if self.since:
            remarks.append(f"joined after {self.since} frames")
        if len(self.versions) > 1:
            remarks.append(f"changed during the session: {', then '.join(self.versions)}")
        return "; ".join(remarks)


def fold_slot(plugin: Plugin, rule: Rule, slot: Slot, batch: FrameBatch, guard: Guard) -> None:
    """Let the analyzer take in a batch, unless it is off. Raises nothing that the analyzer raises."""
    if slot.fault is not None:
        return
    version = f"{plugin.version} ({rule.digest[:8]})"
    if version not in slot.versions:
        slot.versions.append(version)
    try:
        with guard():
            analyzer, state = _revive(plugin, rule, slot)
            analyzer.fold(state, batch)
            slot.state = _checked_state(state, type(analyzer).State)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is the plugin's own
        slot.switch_off(Fault(Status.FAILED, describe(plugin, error)))


def assess_slot(plugin: Plugin, rule: Rule, slot: Slot | None, end_seconds: float, guard: Guard) -> Section:
    """Ask the analyzer what follows. Raises nothing that the analyzer raises.

    `end_seconds` is when the last frame was; a finding cannot end later.
    """
    title = plugin.load().title
    if not rule.enabled:
        return Section(plugin, title, Status.SKIPPED, "switched off by the policy")
    if slot is None:
        return Section(plugin, title, Status.SKIPPED, "no frames")
    if slot.fault is not None:
        return Section(plugin, title, slot.fault.status, slot.fault.reason, slot.versions)
    try:
        with guard():
            analyzer, state = _revive(plugin, rule, slot)
            assessment = _checked_assessment(analyzer.assess(state), end_seconds)
    except (Exception, SystemExit) as error:  # noqa: BLE001  as above
        return Section(plugin, title, Status.FAILED, describe(plugin, error), slot.versions)
    return Section(plugin, title, Status.OK, slot.remark, slot.versions, _attributed(assessment, plugin))


def describe(plugin: Plugin, error: BaseException) -> str:
    """Say in one line what went wrong in a plugin, in the same words each time it goes wrong."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the text of a plugin's error is the plugin's code too
        text = ""
    line = _ADDRESS.sub("0x…", " ".join(text.split()))[:REASON_MAX_CHARACTERS]
    return ": ".join(filter(None, [plugin.display_name, type(error).__name__, line]))


def _revive(plugin: Plugin, rule: Rule, slot: Slot) -> tuple[Any, Any]:
    kind = plugin.load()
    analyzer = kind(msgspec.convert(rule.settings, kind.Settings))
    return analyzer, msgspec.msgpack.decode(slot.state, type=kind.State) if slot.state else kind.State()


def _checked_state(state: object, kind: type[msgspec.Struct]) -> bytes:
    encoded = msgspec.msgpack.encode(state)
    if len(encoded) > STATE_MAX_BYTES:
        raise ValueError(f"its state grew to {len(encoded):,} bytes")
    msgspec.msgpack.decode(encoded, type=kind)  # now, while it is clear who wrote it
    return encoded


def _checked_assessment(said: object, end_seconds: float) -> Assessment:
    if not isinstance(said, Assessment):
        raise TypeError(f"assess returned {type(said).__name__}, not an Assessment")
    encoded = msgspec.json.encode(said)
    if len(encoded) > ASSESSMENT_MAX_BYTES:
        raise ValueError(f"its assessment has {len(encoded):,} bytes")
    assessment = msgspec.json.decode(encoded, type=Assessment)  # holds every value to its type and bounds
    for finding in assessment.findings:
        start, end = finding.start_seconds, finding.end_seconds
        # A millisecond is lost or won by whoever adds up seconds.
        if not start <= end <= end_seconds + 0.001:
            raise ValueError(f"a finding from {start} s to {end} s, where frames end at {end_seconds} s")
    return assessment


def _attributed(assessment: Assessment, plugin: Plugin) -> Assessment:
    findings = [_rounded(finding, plugin) for finding in assessment.findings]
    return msgspec.structs.replace(assessment, findings=findings)


def _rounded(finding: Finding, plugin: Plugin) -> Finding:
    return msgspec.structs.replace(
        finding,
        rule=plugin.name,
        plugin=plugin.package,
        start_seconds=round(finding.start_seconds, 3),
        end_seconds=round(finding.end_seconds, 3),
        strength=round(finding.strength, 3),
    )
