"""The analysis of one session: state and frames to state, and state to report, in this process.

What a process cannot survive is the business of :mod:`proctor.analysis.engine`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

import msgspec

from proctor.accommodations import AnyAccommodation, breaks_of, digest
from proctor.analysis.calm import session_calm
from proctor.analysis.discovery import Plugin
from proctor.analysis.facts import Facts, Section
from proctor.analysis.frames import FrameBatch
from proctor.analysis.glance import Look, build_glance
from proctor.analysis.observation import Observation
from proctor.analysis.policy import Policy, Rule
from proctor.analysis.report import build_report
from proctor.analysis.schema import Status
from proctor.analysis.slot import Fault, Guard, Slot, assess_slot, fold_slot
from proctor.analysis.variants import SEPARATOR, Variant, assess_variants, variants
from proctor.analysis.view import view
from proctor.errors import InvalidRequest
from proctor.model import ExamSession, FrameId

FORMAT = 6
"""Of the encoded state; rises when older states can no longer be continued."""

FRAMES_AT_ONCE = 4_000
"""Most frames that are columns at the same time, which bounds memory."""


class State(msgspec.Struct):
    """All that is kept of a session's frames."""

    format: int = FORMAT
    granted: str = ""
    """Digest of the accommodations that the last frames were folded under."""
    observation: Observation = msgspec.field(default_factory=Observation)
    slots: dict[str, Slot] = msgspec.field(default_factory=dict)

    def slot(self, name: str) -> Slot:
        """Return the slot of an analyzer, which joins now if it was not there before."""
        return self.slots.setdefault(name, Slot(self.observation.frames))


class Progress(NamedTuple):
    """How far a state has come."""

    cursor: FrameId | None
    """Read on after this frame."""
    frames: int
    """How many were folded. Fewer than were stored up to `cursor` means that some came too late."""
    granted: str
    """Digest of the accommodations that were in force."""


class Job(NamedTuple):
    """What a fold or a report needs; travels to worker processes."""

    plugins: tuple[Plugin, ...]
    policy: Policy
    state: bytes | None = None
    """None before the first frame."""
    frames: Sequence[bytes] = ()
    """Stored frames in time order; those that `state` already has are passed over."""
    faults: Mapping[str, Fault] = {}
    """Analyzers to switch off first."""
    accommodations: tuple[AnyAccommodation, ...] = ()
    """What the candidate was granted."""


class ReportRequest(NamedTuple):
    """Which report is wanted."""

    session: ExamSession
    final: bool
    """The session is over; no frame can follow."""
    analysed_ms: int
    """The time of the analysis, milliseconds since the epoch."""
    stored: int = 0
    """How many frames the session ever stored, if that is more than were folded."""


class _Position(msgspec.Struct):
    last: FrameId | None = None
    frames: int = 0


class _Head(msgspec.Struct):
    format: int = FORMAT
    granted: str = ""
    observation: _Position = msgspec.field(default_factory=_Position)
    slots: dict[str, "_SlotHead"] = msgspec.field(default_factory=dict)


class _SlotHead(msgspec.Struct):
    fault: Fault | None


class _Identified(msgspec.Struct):
    frame_id: str


def progress(state: bytes | None) -> Progress:
    """Return how far an encoded state has come, without decoding the rest of it.

    A state that this server cannot continue, because an older or newer one wrote it, has not come far: it
    counts as None, here and wherever a state is taken.
    """
    head = _head(state)
    return Progress(head.observation.last, head.observation.frames, head.granted)


def active_plugins(job: Job) -> list[Plugin]:
    """Return the analyzers that a job would call."""
    head = _head(job.state)
    if not head.observation.frames and not job.frames:
        return []
    off = {name for name, slot in head.slots.items() if slot.fault is not None} | job.faults.keys()
    return [
        plugin for plugin in job.plugins if job.policy.rules[plugin.name].enabled and plugin.name not in off
    ]


def advance(job: Job, guard: Guard = nullcontext) -> bytes:
    """Fold the frames into the state and return it, encoded.

    Raises:
        InvalidRequest: the frames are not stored frames in time order.
    """
    return msgspec.msgpack.encode(_folded(job, guard))


def report(request: ReportRequest, job: Job, guard: Guard = nullcontext) -> bytes:
    """Fold the frames and return the report on all that was folded, as JSON; the state is not kept.

    Raises:
        InvalidRequest: as :func:`advance`.
    """
    return msgspec.json.encode(
        build_report(_facts(request, job, guard), request.analysed_ms), order="deterministic"
    )


def glance(request: ReportRequest, job: Job, guard: Guard = nullcontext) -> bytes:
    """Fold the frames and return the :class:`proctor.analysis.glance.Look` at all that was folded, encoded.

    Raises:
        InvalidRequest: as :func:`advance`.
    """
    facts = _facts(request, job, guard)
    calm = session_calm(facts, job.frames[-1]) if job.frames else None
    return msgspec.msgpack.encode(Look(build_glance(facts), calm))


def _facts(request: ReportRequest, job: Job, guard: Guard) -> Facts:
    state = _folded(job, guard)
    sections = [_section(plugin, job, state, guard) for plugin in job.plugins]
    installed = {plugin.name for plugin in job.plugins}
    sections += [
        Section(Plugin(name, "", "", ""), name, Status.SKIPPED, "no longer installed", slot.versions)
        for name, slot in state.slots.items()
        if name not in installed and SEPARATOR not in name
    ]
    return Facts(
        request.session,
        state.observation,
        sections,
        job.policy,
        request.final,
        job.accommodations,
        max(request.stored, state.observation.frames),
    )


def _section(plugin: Plugin, job: Job, state: State, guard: Guard) -> Section:
    """Ask an analyzer what follows, of anybody and, where it makes a difference, of this candidate."""
    rule, observation = job.policy.rules[plugin.name], state.observation
    end_seconds = observation.length_ms / 1000
    plain = assess_slot(plugin, rule, state.slots.get(plugin.name), end_seconds, guard)
    parts = variants(plugin.name, rule, job.accommodations)
    if not parts or plain.status is not Status.OK or observation.first is None:
        return plain
    own = assess_variants(plugin, parts, state.slots, observation.first.time_ms, end_seconds, guard)
    late = max(state.slots[part.key].since for part in parts)
    if own.status is not Status.OK:
        return own
    if late > state.slots[plugin.name].since:
        own = own._replace(reason=own.reason or f"what is granted is not applied to the first {late} frames")
    return own._replace(reason=own.reason or plain.reason, versions=plain.versions, plain=plain.assessment)


def _head(state: bytes | None) -> _Head:
    if state is not None:
        with suppress(msgspec.MsgspecError):
            head = msgspec.msgpack.decode(state, type=_Head)
            if head.format == FORMAT:
                return head
    return _Head()


def _folded(job: Job, guard: Guard) -> State:
    head = _head(job.state)
    state = msgspec.msgpack.decode(job.state, type=State) if job.state and head.observation.last else State()
    for name, fault in job.faults.items():
        state.slot(name).switch_off(fault)
    _join(state, job)
    breaks = breaks_of(job.accommodations)
    for some in _cut(_unseen(job.frames, state.observation.last)):
        batch = _columns(some, state.observation.first)
        for plugin in job.plugins:
            _fold_rule(plugin, job, state, batch, guard)
        state.observation.fold(some, batch, job.policy.observation.gap_seconds, breaks)
    return state


def _join(state: State, job: Job) -> None:
    """Let variants join that earlier frames were not folded for, and drop those that no longer count.

    One that judges by the settings of an earlier one, or of the rule as it is, goes on from what that saw.
    """
    live = {}
    for plugin in job.plugins:
        rule = job.policy.rules[plugin.name]
        for part in variants(plugin.name, rule, job.accommodations):
            if part.key != plugin.name:
                live[part.key] = state.slots.get(part.key) or _joined(part, plugin.name, rule, state)
    state.slots = {name: slot for name, slot in state.slots.items() if SEPARATOR not in name} | live
    state.granted = digest(job.accommodations)


def _joined(part: Variant, name: str, rule: Rule, state: State) -> Slot:
    since, stem = state.observation.frames, part.key.rpartition(SEPARATOR)[0] + SEPARATOR
    earlier = [slot for key, slot in state.slots.items() if key.startswith(stem)]
    if not earlier and part.rule == rule and name in state.slots:
        earlier = [state.slots[name]]
    if not earlier:
        return Slot(since)
    return msgspec.structs.replace(earlier[-1], since=since, versions=list(earlier[-1].versions))


def _fold_rule(plugin: Plugin, job: Job, state: State, batch: FrameBatch, guard: Guard) -> None:
    rule = job.policy.rules[plugin.name]
    if not rule.enabled:
        return
    plain = state.slot(plugin.name)
    fold_slot(plugin, rule, plain, batch, guard)
    if plain.fault is not None:
        return
    parts = variants(plugin.name, rule, job.accommodations)
    if not parts:
        return
    first = state.observation.first or FrameId.parse(batch.ids[0])
    seen = view(batch, first.time_ms, plugin.name, job.accommodations)
    for part in parts:
        if part.key != plugin.name and len(seen):
            fold_slot(plugin, part.rule, state.slot(part.key), seen, guard)


def _columns(frames: Sequence[bytes], first: FrameId | None) -> FrameBatch:
    try:
        batch = FrameBatch.from_json(frames, (first or _id_of(frames[0])).time_ms)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"not a stored frame: {error}") from error
    if (batch.milliseconds[1:] < batch.milliseconds[:-1]).any():
        raise InvalidRequest("frames must be in time order")
    return batch


def _unseen(frames: Sequence[bytes], last: FrameId | None) -> Sequence[bytes]:
    if last is None or not frames or _id_of(frames[0]) > last:
        return frames
    return [frame for frame in frames if _id_of(frame) > last]


def _id_of(frame: bytes) -> FrameId:
    return FrameId.parse(msgspec.json.decode(frame, type=_Identified).frame_id)


def _cut(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        yield frames[start : start + FRAMES_AT_ONCE]
