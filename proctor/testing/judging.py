"""Judging frames with one analyzer, by the code that calls analyzers in a server."""

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import msgspec

from proctor.analysis.api import Analyzer, Assessment, Finding
from proctor.analysis.discovery import Plugin, discover, find_plugins, load_plugin
from proctor.analysis.fold import FRAMES_AT_ONCE
from proctor.analysis.frames import FrameBatch
from proctor.analysis.policy import Rule, load_policy
from proctor.analysis.slot import Slot, assess_slot, fold_slot
from proctor.model import FrameId

_installed = cache(find_plugins)


class _AtHand(Plugin):
    """An analyzer that need not be looked up, for the test has its class."""

    analyzer: Any

    def load(self) -> Any:
        return self.analyzer


class _Watch(AbstractContextManager[None]):
    """Entered around each call into the analyzer: keeps what it raised, and may limit its time."""

    error: BaseException | None = None

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> None:
        self._limit = deadline(self._seconds)
        self._limit.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.__exit__(None, None, None)
        self.error = error


@dataclass(frozen=True)
class Subject:
    """An analyzer with settings, ready to judge."""

    plugin: Plugin
    rule: Rule
    call_seconds: float | None = None
    """Longest that it may take over one batch, in a main thread on Unix; None is for ever."""

    @property
    def analyzer(self) -> type[Any]:
        """The class."""
        kind: type[Any] = self.plugin.load()
        return kind

    def made(self) -> Analyzer:
        """Construct the analyzer with its settings."""
        made: Analyzer = self.analyzer(msgspec.convert(self.rule.settings, self.analyzer.Settings))
        return made

    def folding(self, frames: Sequence[bytes], cuts: Sequence[int] = ()) -> Iterator[Slot]:
        """Fold, and yield what a server keeps before the first batch and after each; one and the same slot.

        A batch ends before each index in `cuts`, and has at most as many frames as a server takes at once.
        Whatever the analyzer raises goes through.
        """
        slot, watch = Slot(since=0), _Watch(self.call_seconds)
        yield slot
        for batch in batches(frames, cuts):
            fold_slot(self.plugin, self.rule, slot, batch, watch)
            if watch.error is not None:
                raise watch.error
            yield slot

    def fold(self, frames: Sequence[bytes], cuts: Sequence[int] = ()) -> Slot:
        """Return what a server keeps after the frames. Raises as :meth:`folding`."""
        [*_, slot] = self.folding(frames, cuts)
        return slot

    def assess(self, slot: Slot, frames: Sequence[bytes]) -> Assessment:
        """Return the analyzer's part of the report, after those frames. Raises as :meth:`folding`."""
        watch = _Watch(self.call_seconds)
        end_seconds = (time_ms(frames[-1]) - time_ms(frames[0])) / 1000 if frames else 0.0
        section = assess_slot(self.plugin, self.rule, slot, end_seconds, watch)
        if watch.error is not None:
            raise watch.error
        return section.assessment

    def judge(self, frames: Sequence[bytes], cuts: Sequence[int] = ()) -> Assessment:
        """Fold and assess. Raises as :meth:`folding`."""
        return self.assess(self.fold(frames, cuts), frames)


def judge(
    analyzer: type[Analyzer] | str, frames: Sequence[bytes], cuts: Sequence[int] = (), **settings: Any
) -> Assessment:
    """Return what an analyzer says about stored frames, as a server would have it in the report.

    `analyzer` is its class, or the entry-point name of an installed one; `settings` are what a policy sets in
    its table. A batch ends before each index in `cuts`; between batches the state is encoded and decoded,
    and the server's limits on state and assessment hold.

    Raises:
        LookupError: no analyzer of this name is installed.
        TypeError: there is no such setting.
        Misconfigured: the class does not keep to the contract.
        Exception: whatever the analyzer raises, or what a server says about a state or an assessment that
            it does not accept.
    """
    return subject(analyzer, settings).judge(frames, cuts)


def levels(assessment: Assessment) -> list[str]:
    """Return the level of each finding, `info` or `concern`, in order of time."""
    return [finding.level.value for finding in assessment.findings]


def only(assessment: Assessment) -> Finding:
    """Return the finding of an assessment that has exactly one.

    Raises:
        ValueError: it has none, or several.
    """
    [finding] = assessment.findings
    return finding


def subject(
    analyzer: type[Analyzer] | str,
    settings: Mapping[str, Any] | None = None,
    *,
    policy: Path | None = None,
    call_seconds: float | None = None,
) -> Subject:
    """Choose an analyzer and its settings, or those in a policy file. Raises as :func:`judge`."""
    plugin = _named(analyzer) if isinstance(analyzer, str) else _at_hand(analyzer)
    kind = load_plugin(plugin).analyzer.Settings
    if policy is not None:
        return Subject(plugin, load_policy(policy, discover()).rules[plugin.name], call_seconds)
    known = kind.__struct_encode_fields__
    for name in sorted((settings or {}).keys() - set(known)):
        raise TypeError(f"{plugin.name} has no setting {name!r}; it has {', '.join(known) or 'none'}")
    own = msgspec.to_builtins(msgspec.convert(settings or {}, kind))
    return Subject(plugin, Rule(settings=own), call_seconds)


def batches(frames: Sequence[bytes], cuts: Sequence[int] = ()) -> Iterator[FrameBatch]:
    """Cut frames before each index in `cuts`, and where a server would, and make columns of the pieces."""
    if frames:
        origin_ms = time_ms(frames[0])
        ends = sorted({0, len(frames), *cuts, *range(0, len(frames), FRAMES_AT_ONCE)})
        for start, end in pairwise(ends):
            yield FrameBatch.from_json(frames[start:end], origin_ms)


def time_ms(frame: bytes) -> int:
    """Return a stored frame's event time in milliseconds since the epoch."""
    return FrameId.parse(frame_id(frame)).time_ms


def frame_id(frame: bytes) -> str:
    """Return a stored frame's id."""
    return msgspec.json.decode(frame, type=_Identified).frame_id


class _Identified(msgspec.Struct):
    frame_id: str


def _named(name: str) -> Plugin:
    plugins = _installed()
    for plugin in plugins:
        if plugin.name == name:
            return plugin
    names = ", ".join(plugin.name for plugin in plugins) or "none"
    raise LookupError(
        f"no analyzer {name!r} is installed; there are {names}; install yours: pip install -e ."
    )


def _at_hand(analyzer: type[Analyzer]) -> Plugin:
    module, name = analyzer.__module__, analyzer.__qualname__
    plugin = _AtHand(analyzer.__name__, module.partition(".")[0], "0", f"{module}:{name}")
    plugin.analyzer = analyzer
    return plugin


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in the block once it took so long; whoever else has set the alarm keeps it."""
    if seconds is None or sys.platform == "win32" or threading.current_thread() != threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"took longer than {seconds:g} s over one batch")

    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        passed = seconds - signal.setitimer(signal.ITIMER_REAL, 0)[0]
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 0.001), interval)
