"""The contract suite lets good analyzers pass and finds each bad one out, with words that help."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.fixtures.process import environment

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

WAYWARD = Path(__file__).parent / "wayward"
CAUGHT = {
    "CountsBatches": ("test_batching_never_matters", "cut before frame 1 of"),
    "LooksAtTheFrameBeforeInTheBatch": ("test_batching_never_matters", "must be in State"),
    "RemembersInSelf": ("test_state_survives_serialisation", "keep nothing in `self`"),
    "RemembersInGlobals": ("test_the_same_again", "remember nothing outside State"),
    "LosesTypes": ("test_state_survives_serialisation", "give State's fields types"),
    "FailsOnNan": ("test_nothing_known_finds_nothing", "in fold\n    state.counted = int("),
    "TakesUnknownForZero": ("test_nothing_known_finds_nothing", "give Episodes NaN, too"),
    "TakesUnknownForNo": ("test_nothing_known_finds_nothing", "a comparison with NaN is False"),
    "LeavesItToChance": ("test_the_same_again", "use neither chance nor the clock"),
    "TrustsHashes": ("test_the_same_in_another_process", "sort what comes out of sets"),
    "TakesItsTime": ("test_state_and_time_stay_bounded", "took longer than 2 s over one batch"),
    "KeepsEachFrame": ("test_state_and_time_stay_bounded", "never something per frame"),
    "ChangesStateInAssess": ("test_assessing_changes_nothing", "let it work on copies"),
    "MakesUpFrames": ("test_what_it_says_is_in_order", "use frames.ids"),
    "SpeaksOfOtherWindows": ("test_what_it_says_is_in_order", "a window is seconds // 10"),
    "TellsTheLastFirst": ("test_what_it_says_is_in_order", "sort them by start_seconds"),
    "HasImpossibleDefaults": ("test_defaults_are_valid_settings", "Expected `float` <= 10.0"),
    "ReadsAsciiOnly": ("test_hostile_values", "UnicodeEncodeError"),
    "DividesByTheLength": ("test_sessions_of_one_frame", "ZeroDivisionError"),
    "NeedsAFrame": ("test_no_frames_find_nothing", "TypeError"),
}


def start_suite(folder, *arguments):
    """Run the suite in a folder outside the repository."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--pyargs", "proctor.testing", "-q", *arguments],
        cwd=folder,
        env=environment(WAYWARD),
        capture_output=True,
        text=True,
        check=False,
    )


def run_suite(folder, *arguments):
    """Run the suite to its end; returns the complaints of each test, by its name."""
    done = start_suite(folder, "--junitxml=result.xml", *arguments)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = ElementTree.parse(folder / "result.xml").iter("testcase")
    return {
        case.get("name"): [child.get("message", "") + (child.text or "") for child in case] for case in cases
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Each wayward analyzer under the test that is to catch it, all in one run."""
    names = [word for name in CAUGHT for word in ("--analyzer", name)]
    chosen = " or ".join(f"({test} and {name})" for name, (test, _) in CAUGHT.items())
    return run_suite(tmp_path_factory.mktemp("outside"), *names, "--call-seconds", "2", "-k", chosen)


@pytest.mark.parametrize("name", CAUGHT)
def test_each_way_to_go_astray_is_caught(outcomes, name):
    """By the test that is about it, which says what to do."""
    test, remedy = CAUGHT[name]
    complaints = [
        message
        for case, messages in outcomes.items()
        if case.startswith(test) and name in case
        for message in messages
    ]
    assert complaints
    assert any(remedy in complaint for complaint in complaints), complaints


def test_a_name_that_is_not_installed_is_told_with_those_that_are(tmp_path):
    """Once, before any test runs."""
    done = start_suite(tmp_path, "--analyzer", "nobody")
    assert done.returncode == 4
    assert "--analyzer nobody: not installed; there are ChangesStateInAssess, " in done.stderr
    assert "pip install -e ." in done.stderr


def test_a_good_analyzer_passes_outside_of_any_project(tmp_path):
    """Chosen by its name; with a policy's settings, and a recording of the author's own.

    What the policy switches off is not tested.
    """
    (tmp_path / "mine.toml").write_text(
        "[rules.Upright]\nconcern_seconds = 5.0\n[rules.FailsOnNan]\nenabled = false\n"
    )
    dump = [{"timestamp": 1_767_603_600_000 + 500 * n, "hand_count": n // 20 % 2} for n in range(100)]
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    options = ["--policy", "mine.toml", "--recording", "dump.json"]
    outcomes = run_suite(tmp_path, "--analyzer", "Upright", "--analyzer", "FailsOnNan", *options)
    skipped = [outcomes.pop(case) for case in list(outcomes) if "FailsOnNan" in case]
    assert all("mine.toml switches FailsOnNan off" in messages[0] for messages in skipped)
    assert len(outcomes) == len(skipped) > 20
    assert not any(outcomes.values())
    assert any("dump.json" in case for case in outcomes)
