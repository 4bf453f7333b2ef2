"""Sessions whose truth is known: simulated people, and recordings with their labels beside them."""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import msgspec

from proctor.errors import InvalidRequest
from proctor.evaluation.metrics import Labels, merged
from proctor.model import ExamSession
from proctor.offline.recording import Recording, read_recording
from proctor.simulator import KINDS, exam_taker
from proctor.simulator.replay import stored_frames
from proctor.simulator.scene import Span
from proctor.storage.dumps import dump_name
from proctor.storage.encryption import SUFFIX

_START_MS = 1_767_603_600_000
"""When simulated exams begin: always at the same time, so that they are always the same."""

TOLERANCE_SECONDS = 2.0
"""Of the labels of simulated people, and of recordings whose labels do not state one."""

_FRAMES, _LABELS = "_frames.json", "_labels.json"

_SLACK_SECONDS = 10.0
"""So far labels may go beyond the frames, which need not come at a steady rate."""


class Sitting(Protocol):
    """One session to judge; small, so that it can travel to the process that does."""

    @property
    def name(self) -> str:
        """What reports on it call it."""
        ...

    @property
    def kind(self) -> str:
        """With which others it is put together."""
        ...

    def load(self) -> tuple[Recording, Labels]:
        """Return the frames and the truth. Blocks.

        Raises:
            InvalidRequest: there is a mistake in a file.
        """
        ...


class Simulated(NamedTuple):
    """One exam of a simulated person."""

    kind: str
    seed: int
    minutes: float
    fps: float

    @property
    def name(self) -> str:
        """Tells it from others of its kind."""
        return f"{self.kind}-{self.seed}"

    def load(self) -> tuple[Recording, Labels]:
        """Simulate it."""
        taker = exam_taker(self.kind, self.seed, self.minutes, self.fps)
        frames = list(stored_frames(taker, self.name, _START_MS))
        ended_ms = _START_MS + round(taker.seconds * 1000)
        labels = Labels(
            intervals=tuple(merged((truth.start_seconds, truth.end_seconds) for truth in taker.truth)),
            duration_seconds=taker.seconds,
            tolerance_seconds=TOLERANCE_SECONDS,
        )
        session = ExamSession(session_id=self.name, started_ms=_START_MS, ended_ms=ended_ms)
        return Recording(session, frames), labels


class Recorded(NamedTuple):
    """One recording, `NAME_frames.json`, with `NAME_labels.json` beside it."""

    frames: Path
    kind: str

    @property
    def name(self) -> str:
        """The name of the recording."""
        return dump_name(self.frames)

    def load(self) -> tuple[Recording, Labels]:
        """Read both files."""
        recording = read_recording(self.frames, 0)
        session = recording.session
        seconds = ((session.ended_ms or session.started_ms) - session.started_ms) / 1000
        path = _labels_of(self.frames)
        return recording, _as_labels(_read_labels(path), seconds, path)


def simulated(
    kinds: Sequence[str], people: int, minutes: float, fps: float, seed: int
) -> Iterator[Simulated]:
    """Yield so many people of each kind; of all kinds if none is named.

    Raises:
        InvalidRequest: there is no such kind.
    """
    _refuse_unknown(kinds, KINDS, "kinds are")
    for kind in dict.fromkeys(kinds or KINDS):
        for number in range(people):
            yield Simulated(kind, seed + number, minutes, fps)


def recorded(directories: Iterable[Path], kinds: Sequence[str]) -> list[Recorded]:
    """List the labelled recordings in folders, by name. Their kind is what the labels call `suite`. Blocks.

    Raises:
        InvalidRequest: a folder has none or is given twice, labels are missing or wrong, or there are none
            of these kinds.
    """
    found: list[Recorded] = []
    seen: set[Path] = set()
    for directory in directories:
        if directory.resolve() in seen:
            raise InvalidRequest(f"{directory} is given twice, and its recordings would count twice")
        seen.add(directory.resolve())
        recordings = sorted(path for end in ("", SUFFIX) for path in directory.glob(f"*{_FRAMES}{end}"))
        if not recordings:
            raise InvalidRequest(f"{directory} has no labelled recordings, NAME{_FRAMES} and NAME{_LABELS}")
        _refuse_orphans(directory)
        for frames in recordings:
            labels = _read_labels(_labels_of(frames))
            found.append(Recorded(frames, labels.suite or directory.resolve().name))
    there = dict.fromkeys(each.kind for each in found)
    _refuse_unknown(kinds, there, "recordings are of")
    return [each for each in found if not kinds or each.kind in kinds]


def _refuse_unknown(kinds: Iterable[str], known: Iterable[str], there_are: str) -> None:
    names = list(known)
    for kind in kinds:
        if kind not in names:
            close = difflib.get_close_matches(kind, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"{there_are} {', '.join(names)}"
            raise InvalidRequest(f"no kind {kind!r}; {hint}", field="kind")


def _refuse_orphans(directory: Path) -> None:
    for labels in sorted(directory.glob(f"*{_LABELS}")):
        frames = labels.with_name(labels.name.removesuffix(_LABELS) + _FRAMES)
        if not (frames.exists() or frames.with_name(frames.name + SUFFIX).exists()):
            raise InvalidRequest(f"{labels} labels a recording that is not there, {frames.name}")


def _labels_of(frames: Path) -> Path:
    return frames.with_name(dump_name(frames) + _LABELS)


class _LabelsFile(msgspec.Struct, forbid_unknown_fields=True):
    intervals: list[tuple[float, float]]
    suite: str = ""
    duration: Annotated[float, msgspec.Meta(ge=0)] | None = None
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = TOLERANCE_SECONDS


def _read_labels(path: Path) -> _LabelsFile:
    try:
        labels = msgspec.json.decode(path.read_bytes(), type=_LabelsFile)
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path}: {error.strerror or error}; labels are "
            '{"intervals": [[START, END], …], "suite": NAME, "duration": SECONDS, "tolerance": SECONDS}'
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        known = ", ".join(_LabelsFile.__struct_fields__)
        hint = f"; labels have {known}" if "unknown field" in str(error) else ""
        raise InvalidRequest(f"{path}: {error}{hint}") from error
    _check_intervals(labels.intervals, path)
    return labels


def _check_intervals(intervals: Sequence[tuple[float, float]], path: Path) -> None:
    for number, (start, end) in enumerate(intervals):
        if not 0 <= start < end < math.inf:
            raise InvalidRequest(
                f"{path}: intervals, element {number}: [{start:g}, {end:g}] must be [START, END] in seconds "
                "since the first frame, with 0 <= START < END"
            )
    ordered = sorted(intervals)
    for earlier, later in pairwise(ordered):
        if later[0] < earlier[1]:
            raise InvalidRequest(
                f"{path}: intervals: [{earlier[0]:g}, {earlier[1]:g}] and [{later[0]:g}, {later[1]:g}] "
                "overlap; write them as one"
            )


def _check_duration(labels: _LabelsFile, recorded_seconds: float, path: Path) -> None:
    """Refuse labels that are in milliseconds, or another recording's."""
    duration = labels.duration
    if duration is not None and abs(duration - recorded_seconds) > _SLACK_SECONDS:
        raise InvalidRequest(
            f"{path}: duration: {duration:g} s, but the frames last {recorded_seconds:g} s; it is seconds "
            "since the first frame, and may be left out"
        )


def _as_labels(labels: _LabelsFile, recorded_seconds: float, path: Path) -> Labels:
    _check_duration(labels, recorded_seconds, path)
    seconds = recorded_seconds if labels.duration is None else labels.duration
    intervals = tuple(Span(start, end) for start, end in sorted(labels.intervals))
    if intervals and intervals[-1].start >= seconds:
        raise InvalidRequest(
            f"{path}: intervals: {intervals[-1].start:g} s is after the end of the recording, {seconds:g} s"
        )
    for start, end in intervals:
        if end > recorded_seconds + _SLACK_SECONDS:
            raise InvalidRequest(
                f"{path}: intervals: [{start:g}, {end:g}] ends after the recording, {recorded_seconds:g} s; "
                "write seconds since the first frame"
            )
    return Labels(intervals=intervals, duration_seconds=seconds, tolerance_seconds=labels.tolerance)
