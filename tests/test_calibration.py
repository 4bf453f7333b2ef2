"""Confidence keeps every order of evidence, and a policy may say what evidence is worth."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from proctor.analysis.calibration import Calibration
from proctor.analysis.policy import Policy, load_policy
from proctor.errors import Misconfigured

STEPS = [step / 200 for step in range(201)]


def test_stronger_evidence_is_always_worth_more():
    """Otherwise windows could no longer be ranked by confidence."""
    calibration = Calibration()
    assert all(a < b for a, b in pairwise(calibration.of_window(step) for step in STEPS))
    assert all(a < b for a, b in pairwise(calibration.of_verdict(100 * step) for step in STEPS))


def test_nothing_is_worth_nothing_and_nothing_is_certain():
    calibration = Calibration()
    assert (calibration.of_window(0), calibration.of_verdict(0)) == (0, 0)
    assert calibration.of_window(1) < 1
    assert calibration.of_verdict(100) < 1


def test_points_are_kept_and_between_them_is_the_middle():
    calibration = Calibration(windows=((0, 0.1), (0.5, 0.3), (1, 0.9)))
    assert [calibration.of_window(x) for x in (0, 0.25, 0.5, 0.75, 1)] == [0.1, 0.2, 0.3, 0.6, 0.9]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[[0, 0], [0.5, 0.5], [1, 0.5]]", "must rise: "),
        ("[[0, 0], [0.5, 0.2], [0.5, 0.3], [1, 1]]", "must rise: "),
        ("[[0.1, 0], [1, 1]]", "must go from a first coordinate of 0 to one of 1"),
        ("[[0, 0]]", "must go from a first coordinate of 0 to one of 1"),
        ("[[0, 0], [1, 1.5]]", "Expected `float` <= 1"),
        ("[[0, 0, 0], [1, 1, 1]]", "Expected `array` of length 2"),
    ],
)
@pytest.mark.parametrize("name", ["windows", "verdict"])
def test_line_that_could_not_rank_is_refused(tmp_path, name, line, complaint):
    file = tmp_path / "exam.toml"
    file.write_text(f"[verdict.calibration]\n{name} = {line}\n")
    with pytest.raises(Misconfigured) as raised:
        load_policy(file, [])
    assert "verdict.calibration" in str(raised.value.detail)
    assert complaint in str(raised.value.detail)


def test_policy_file_says_what_is_built_in():
    directory = Path(__file__).parents[1] / "config"
    table = directory.joinpath("default.toml").read_text(encoding="utf-8")
    lines = table[table.index("[verdict.calibration]") : table.index("# The rules")]
    file_alone = msgspec.toml.decode(lines, type=dict[str, dict[str, Calibration]])
    assert file_alone["verdict"]["calibration"] == Calibration()


def test_calibration_is_part_of_what_a_report_follows_from():
    other = msgspec.structs.replace(Policy().verdict, calibration=Calibration(windows=((0, 0), (1, 1))))
    assert Policy(verdict=other).digest != Policy().digest
