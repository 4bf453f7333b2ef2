"""An analyzer that fails is told of, and never taken for one that found nothing."""

import sys
from pathlib import Path

import pytest
import trio

from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.policy import built_in_policy
from proctor.errors import ProctorError, Unavailable
from proctor.evaluation.alerts import Judge
from proctor.evaluation.measure import measure
from proctor.evaluation.page import page
from proctor.evaluation.sittings import Simulated
from proctor.evaluation.spread import measure_all
from proctor.evaluation.summary import Evaluation, policy_result
from proctor.evaluation.text import print_evaluation
from proctor.offline.output import rendered

ROGUES = Path(__file__).parent / "rogues"
SHORT = Simulated("phone", 1, 1, 2)


@pytest.fixture
def judge_with(monkeypatch):
    """By the built-in rules and one rogue."""
    monkeypatch.syspath_prepend(str(ROGUES))

    def choose(rogue: str) -> Judge:
        wanted = [
            plugin
            for plugin in find_plugins()
            if plugin.package == "proctor" or plugin.name == f"rogue_{rogue}"
        ]
        analyzers = discover(plugins=wanted)
        return Judge(analyzers, built_in_policy(analyzers))

    yield choose
    sys.modules.pop("rogue_rules", None)


def test_a_rule_that_raises_is_named_with_its_reason(judge_with):
    by = judge_with("raises")
    [measured] = measure(SHORT, [by])
    assert list(measured.failures) == ["rogue_raises"]
    result = policy_result(by.policy, "p", [measured, measured], 0.02)
    [failure] = result.failures
    assert failure.startswith("rogue_raises failed in 2 of 2 sessions: ")
    evaluation = Evaluation(proctor="0", source="exams", prevalence=0.02, policies=[result])
    assert failure.split(":")[0] in rendered(lambda console: print_evaluation(evaluation, console))
    assert failure.split(":")[0] in page(evaluation)


def test_what_rules_print_is_no_part_of_the_result(judge_with, capsys):
    measure(SHORT, [judge_with("chatters")])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("rogue", ["dies", "hangs", "hangs_in_assess", "spins"])
def test_a_rule_that_ends_its_process_or_hangs_ends_the_evaluation(judge_with, rogue):
    with pytest.raises(ExceptionGroup) as told:
        trio.run(measure_all, [SHORT], [judge_with(rogue)], 1, 2.0, lambda: None)
    error = told.value
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, ProctorError)
    assert isinstance(error, Unavailable)
    assert error.detail == (
        "phone-1: an analyzer took longer than 2 s or ended its process; --only RULE tells which"
    )
