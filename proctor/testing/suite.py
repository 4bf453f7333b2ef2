"""The contract suite: what every analyzer must do, whatever it is about.

Each failure says what was expected and what its author can do about it. The suite is a class, so that it runs
among a plugin's own tests, too::

    class TestContract(ContractSuite):
        analyzer = "too_far"
        settings = {"width_share": 0.4}
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import msgspec
import pytest

from proctor.analysis.api import Analyzer, Assessment, Group
from proctor.analysis.fold import FRAMES_AT_ONCE
from proctor.analysis.slot import STATE_MAX_BYTES
from proctor.features import VOCABULARY
from proctor.testing import material
from proctor.testing.checks import (
    SINGLE_CUTS_MAX,
    canonical,
    difference,
    faults,
    own_lines,
    random_cuts,
    smallest_cuts,
    unforeseen,
)
from proctor.testing.judging import Subject, batches, subject
from proctor.testing.replica import judged_elsewhere
from proctor.testing.sessions import recorded

CALL_SECONDS = 10.0
"""A server's default for `ANALYSIS_TIMEOUT_SECONDS`: the longest that a call may take."""

EXAM_FRAMES = 4 * 3600 * 30
"""A long exam at a high rate, which a state must have room for."""

_RECORDED = "recorded, "
SESSIONS = sorted(material.some_sessions(()))


class ContractSuite:
    """Tests of one analyzer against the contract. Subclasses name it."""

    analyzer: ClassVar[str | type[Analyzer]]
    """Its entry-point name if it is installed, or its class."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """What a policy might set."""
    recordings: ClassVar[Sequence[str]] = ()
    """Dumps to judge besides the suite's own sessions, as is each `--recording` of the command line."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the tests of whole sessions on each of them."""
        if "session" in metafunc.fixturenames:
            recordings = [*self.recordings, *metafunc.config.getoption("recording", [])]
            metafunc.parametrize("session", [*SESSIONS, *(_RECORDED + path for path in recordings)])

    @pytest.fixture
    def subject(self) -> Subject:
        """The analyzer under test."""
        return subject(self.analyzer, self.settings, call_seconds=CALL_SECONDS)

    @pytest.fixture
    def names(self, subject: Subject) -> set[str]:
        """Features that the analyzer reads; none if it fails, which the tests then find themselves."""
        with suppress(Exception, SystemExit):
            return material.names_read(subject)
        return set()

    def test_batching_never_matters(self, subject: Subject, names: set[str], session: str) -> None:
        """One batch, one frame at a time and anything in between give the same assessment."""
        _batching_never_matters(subject, _session(session, names), session)

    def test_what_it_says_is_in_order(self, subject: Subject, names: set[str], session: str) -> None:
        """Findings, windows and frame ids are of this session and in order of time."""
        frames = _session(session, names)
        _in_order(_judge(subject, frames), frames, session)

    def test_no_concern_comes_while_it_is_calm(self, subject: Subject, names: set[str], session: str) -> None:
        """A server looks later at sessions that are calm, and proctors would hear late of a concern."""
        with _told("assessing a session as it goes on"):
            surprises = list(unforeseen(subject, _session(session, names)))
        _require(
            not surprises,
            f"{session}: {'; '.join(surprises[:3])}, of which `calm` said before that none would; let it say "
            "less, or None",
        )

    def test_state_survives_serialisation(self, subject: Subject, names: set[str]) -> None:
        """To go on from the stored state is to go on from that in memory; nothing is kept elsewhere."""
        frames = material.wild(500, 4, names)
        cuts = range(50, 500, 50)
        with _told("folding a wild session"):
            analyzer, state = subject.made(), subject.analyzer.State()
            for batch in batches(frames, cuts):
                analyzer.fold(state, batch)
            kept = subject.fold(frames, cuts).state
            revived = msgspec.msgpack.decode(kept, type=subject.analyzer.State)
        _require(
            canonical(revived) == canonical(state),
            "its state, encoded and decoded between batches, is not the one that stays in memory; keep "
            "nothing in `self` or in globals, and give State's fields types that say all that is in them",
        )
        _require(
            canonical(subject.made().assess(revived)) == canonical(analyzer.assess(state)),
            "with the state encoded and decoded between batches it says otherwise than with the one that "
            "stays in memory; keep nothing in `self` or in globals",
        )

    def test_state_and_time_stay_bounded(self, subject: Subject, names: set[str]) -> None:
        """An hour of thirty frames per second is folded in time, and four hours leave a state that fits."""
        frames = list(material.huge(names))
        sizes = []
        with _told(f"folding {len(frames):,} frames in batches of {FRAMES_AT_ONCE:,}"):
            for slot in subject.folding(frames):
                sizes.append(len(slot.state))
            assessment = subject.assess(slot, frames)
        half = len(sizes) // 2
        growth = (sizes[-1] - sizes[half]) / (len(frames) - half * FRAMES_AT_ONCE)
        expected = round(sizes[-1] + growth * (EXAM_FRAMES - len(frames)))
        _require(
            expected <= STATE_MAX_BYTES,
            f"its state has {sizes[-1]:,} bytes after {len(frames):,} frames; four hours would need about "
            f"{expected:,}, and a server keeps {STATE_MAX_BYTES:,}. "
            "Keep sums per window and a bounded number of episodes, never something per frame",
        )
        _in_order(assessment, frames, f"a session of {len(frames):,} frames")

    @pytest.mark.parametrize("how", sorted(material.nothing_known()))
    def test_nothing_known_finds_nothing(self, subject: Subject, names: set[str], how: str) -> None:
        """Where nothing is known nothing is found, and nothing is said to be in order either.

        Trouble with camera or connection may be found; what reads no features may judge their absence.
        """
        said = _judge(subject, material.nothing_known()[how])
        suspicions = [finding for finding in said.findings if finding.group is not Group.TECHNICAL]
        _require(
            not suspicions and not (said.window_strengths and not said.findings),
            f"in frames with {how} it sees {canonical(said)[:300]!r}; unknown is neither yes nor no: where "
            "np.isnan(frames[name]) give Episodes NaN, too",
        )
        _require(
            not (names and said.observed_windows),
            f"in frames with {how} it says that it could judge {', '.join(sorted(names))}; a comparison with "
            "NaN is False, so where np.isnan(frames[name]) give Episodes NaN, too",
        )

    def test_any_feature_may_be_missing(self, subject: Subject, names: set[str]) -> None:
        """Browsers send what they can; without any one of the features there is still an assessment."""
        frames = material.wild(200, 5, names)
        for name in sorted(names | {"event"}):
            with _told(f"without the feature {name}"):
                subject.judge(material.without(frames, name), [70, 140])

    def test_zeros_of_browsers_are_survived(self, subject: Subject) -> None:
        """Frames without a face, with 0 and "None" for all that is read off one."""
        frames = material.zeros()
        _in_order(_judge(subject, frames), frames, "frames of zeros")

    def test_no_frames_find_nothing(self, subject: Subject) -> None:
        """State() is the state before the first frame; assess must take it."""
        said = _judge(subject, [])
        _require(
            not said.findings and not said.window_strengths,
            f"without any frame it says {canonical(said)[:300]!r}; State() must stand for nothing seen",
        )

    def test_sessions_of_one_frame(self, subject: Subject, names: set[str]) -> None:
        """Whatever the frame, and however many came at one moment."""
        for frame in material.wild(60, 6, names):
            _in_order(_judge(subject, [frame]), [frame], f"a session of the frame {frame!r}")

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_hostile_values(self, subject: Subject, names: set[str]) -> None:
        """The largest numbers, odd text, unknown features of any shape: clients send what they like."""
        frames = material.hostile(names - VOCABULARY.keys())
        _in_order(_judge(subject, frames, [100, 200, 350]), frames, "hostile values")

    def test_assessing_changes_nothing(self, subject: Subject, names: set[str]) -> None:
        """A session is assessed whenever somebody asks, and goes on as if nobody had."""
        with _told("assessing twice"):
            kept = subject.fold(material.wild(300, 7, names)).state
            analyzer, state = subject.made(), msgspec.msgpack.decode(kept, type=subject.analyzer.State)
            first, second = canonical(analyzer.assess(state)), canonical(analyzer.assess(state))
        _require(
            first == second, "assessed twice it says two things; assess must follow from the state alone"
        )
        _require(
            canonical(state) == canonical(msgspec.msgpack.decode(kept, type=type(state))),
            "assess changes the state; let it work on copies (Episodes.so_far makes one)",
        )

    def test_the_same_again(self, subject: Subject, names: set[str]) -> None:
        """The same frames give the same assessment, also after another session in the same process."""
        frames, others = material.wild(300, 8, names), material.wild(300, 9, names)
        first = _judge(subject, frames)
        _judge(subject, others)
        _require(
            _judge(subject, frames) == first,
            "the same frames are judged otherwise the second time; use neither chance nor the clock, and "
            "remember nothing outside State",
        )

    def test_the_same_in_another_process(self, subject: Subject, names: set[str]) -> None:
        """Any process of a deployment gives the same bytes, whatever its hashes and its clock."""
        if "<locals>" in subject.plugin.value:
            pytest.skip("another process cannot import a class from within a function")
        frames = material.wild(300, 10, names)
        try:
            elsewhere = judged_elsewhere(subject, frames)
        except subprocess.CalledProcessError as error:
            pytest.fail(f"another process cannot judge with it:\n{error.stderr}", pytrace=False)
        _require(
            elsewhere == canonical(_judge(subject, frames)),
            "another process judges the same frames otherwise; sort what comes out of sets, use neither "
            "hash() nor chance nor the clock",
        )

    def test_defaults_are_valid_settings(self, subject: Subject) -> None:
        """A policy may state what is the default anyway."""
        kind = subject.analyzer.Settings
        try:
            stated = msgspec.convert(msgspec.to_builtins(kind()), kind)
        except msgspec.ValidationError as error:
            pytest.fail(f"a default of its Settings is not what the field's own type allows: {error}")
        _require(stated == kind(), "its Settings, stated as they are by default, are not the defaults")


def _batching_never_matters(subject: Subject, frames: Sequence[bytes], what: str) -> None:
    """Fail unless the session is judged the same however it is cut, naming a cut that makes a difference."""
    whole = _judge(subject, frames)
    for cuts in [*random_cuts(len(frames)), range(1, min(len(frames), SINGLE_CUTS_MAX))]:
        if _judge(subject, frames, cuts) != whole:
            few = smallest_cuts(cuts, lambda some: _judge(subject, frames, some) != whole)
            pytest.fail(
                f"{what}: cut before frame {', '.join(map(str, few))} of {len(frames)}, it is judged "
                f"otherwise than in one batch:\n{difference(whole, _judge(subject, frames, few))}\n"
                "Whatever a frame needs of the frames before it must be in State, as whole milliseconds or "
                "counts; Episodes, Baseline and EpisodeLog keep it for you.",
                pytrace=False,
            )


@contextmanager
def _told(when: str) -> Iterator[None]:
    """Say what a server would make of an error."""
    complaint = ""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is the analyzer's own
        complaint = f"{when}: {type(error).__name__}: {error}\n{own_lines(error)}"
    if complaint:
        hint = "A server would switch the analyzer off for the rest of the session."
        pytest.fail(complaint + hint, pytrace=False)


def _judge(subject: Subject, frames: Sequence[bytes], cuts: Sequence[int] = ()) -> Assessment:
    with _told(f"judging {len(frames)} frames"):
        return subject.judge(frames, cuts)


def _session(name: str, names: set[str]) -> Sequence[bytes]:
    if name.startswith(_RECORDED):
        return recorded(name.removeprefix(_RECORDED))
    return material.some_sessions(names)[name]()


def _in_order(assessment: Assessment, frames: Sequence[bytes], what: str) -> None:
    wrong = list(faults(assessment, frames))
    _require(not wrong, f"{what}: {'; '.join(wrong[:3])}")


def _require(held: bool, complaint: str) -> None:
    if not held:
        pytest.fail(complaint, pytrace=False)
