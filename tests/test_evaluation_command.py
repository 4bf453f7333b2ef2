"""`proctor evaluate`: what it writes, the same whoever does the work, and how mistakes are told."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proctor.cli import app
from proctor.evaluation.summary import Evaluation
from proctor.evaluation.text import print_evaluation
from proctor.simulator import KINDS, exam_taker
from proctor.simulator.replay import stored_frames

T0 = 1_767_603_600_000
CONFIG = str(Path(__file__).parents[1] / "config")
SHORT = ("--kind", "phone", "--kind", "honest-poster", "--people", "2", "--minutes", "6", "--fps", "3")
BRIEF = ("--kind", "phone", "--people", "1", "--minutes", "1", "--fps", "2", "--workers", "1")
ENVIRONMENT = {"POLICY_DIRECTORY": CONFIG, "COLUMNS": "160"}


def run(*arguments: object) -> tuple[int, bytes, str]:
    done = CliRunner(env=ENVIRONMENT).invoke(app, ["evaluate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout_bytes, done.stderr


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def compared() -> tuple[bytes, dict[str, Any]]:
    """Two policies on four exams."""
    arguments = ("--policy", "default", "--policy", "strict", "--format", "json", "--workers", "2")
    code, answer, errors = run(*SHORT, *arguments)
    assert (code, errors) == (0, "")
    return answer, json.loads(answer)


def test_all_is_told_of_every_policy_kind_and_session(compared):
    _, evaluation = compared
    assert [each["policy"] for each in evaluation["policies"]] == ["default", "strict"]
    default = evaluation["policies"][0]
    assert list(default["kinds"]) == ["phone", "honest-poster"]
    assert default["overall"]["sessions"] == len(default["sessions"]) == 4
    phone = default["kinds"]["phone"]
    assert phone["second_f1"] > 0.8
    assert phone["alerts"]["median_seconds"] > 0
    assert phone["alerts"]["raised"] + phone["alerts"]["missed"] == phone["intervals"]
    for session in default["sessions"]:
        assert session["honest"] == session["kind"].startswith("honest-") == (session["intervals"] == [])
    shares = [each["honest_sent"] for each in default["thresholds"]]
    assert all(earlier >= later for earlier, later in pairwise(shares))
    windows = sum(each["count"] for each in default["window_calibration"]["bins"])
    assert windows <= 4 * 36


def test_the_answer_is_the_same_however_many_processes_give_it(compared):
    arguments = [*SHORT, "--policy", "default", "--policy", "strict", "--format", "json"]
    assert run(*arguments, "--workers", "1")[1] == compared[0]


def test_text_is_what_a_terminal_gets():
    code, answer, errors = run(*BRIEF)
    text = answer.decode()
    assert (code, errors) == (0, "")
    assert text.startswith("1 simulated exams of 1 minutes, 1 of each kind, 2 frames per second, seed 1\n")
    for words in ("By kind, default", "phone", "score from", "window AUC", "off by"):
        assert words in text


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_text_fits_the_terminal(compared, columns):
    """Figures are left out where there is no room, and none is cut."""
    file = io.StringIO()
    print_evaluation(msgspec.convert(compared[1], Evaluation), Console(file=file, width=int(columns)))
    tables = file.getvalue().split("What a review threshold")[0]
    assert max(map(len, file.getvalue().splitlines())) <= int(columns)
    assert "…" not in tables
    assert "F1" in tables


def test_rules_can_be_left_out_or_tried_alone():
    """With a rule that does not see phones, they are not found."""
    rules = ["--only", "phone", "--only", "multiple_faces", "--without", "phone"]
    [result] = json.loads(run(*BRIEF, *rules, "--format", "json")[1])["policies"]
    assert result["rules"] == ["multiple_faces"]
    assert result["overall"]["interval_recall"] == 0
    assert result["overall"]["alerts"]["missed"] == result["overall"]["intervals"] > 0


def test_rules_on_trial_are_told_apart_and_cannot_judge_alone(tmp_path):
    (tmp_path / "trial.toml").write_text("[rules.phone]\nshadow = true\n")
    trial = [*BRIEF, "--policy", "trial.toml", "--only", "phone"]
    [result] = json.loads(run(*trial, "--only", "multiple_faces", "--format", "json")[1])["policies"]
    assert (result["rules"], result["on_trial"]) == (["multiple_faces"], ["phone"])
    for form in ("text", "html"):
        answer = run(*trial, "--only", "multiple_faces", "--format", form)[1].decode()
        assert "rules multiple_faces, phone (on trial)" in answer
    code, answer, errors = run(*trial)
    assert (code, answer) == (2, b"")
    assert "policy 'trial' has no rule left that scores; on trial: phone" in errors


def test_labelled_recordings_are_evaluated_and_a_page_is_written(tmp_path):
    for kind in ("phone", "honest-calm"):
        taker = exam_taker(kind, 1, 1, 2)
        (tmp_path / f"{kind}_frames.json").write_bytes(
            b"[" + b",".join(stored_frames(taker, kind, T0)) + b"]"
        )
        labels = {"suite": "mine", "intervals": [truth[:2] for truth in taker.truth]}
        (tmp_path / f"{kind}_labels.json").write_text(json.dumps(labels))
    assert run(".", "--workers", "1", "-o", "evaluation.html") == (0, b"", "")
    page = (tmp_path / "evaluation.html").read_text()
    assert f"2 labelled recordings of {tmp_path.name}" in page
    assert '<td class="name">mine</td>' in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kind", "villain"], "no kind 'villain'; kinds are honest-calm"),
        (["--only", "phnoe"], "--only phnoe: no such rule; did you mean phone?"),
        (["--without", "xyz"], "--without xyz: no such rule; rules are clipboard, "),
        (["--only", "phone", "--without", "phone"], "policy 'default' has no rule left to judge by"),
        (["--policy", "none"], "no policy 'none' in"),
        (["--policy", "default", "--policy", "default.toml"], "two policies are named 'default'"),
        (["-o", "no/where.html"], "cannot write no/where.html"),
        (["."], "has no labelled recordings"),
        (["--kind", "fone"], "no kind 'fone'; did you mean phone?"),
        ([".", "--people", "4"], "--people is about simulated people; leave it out with recordings"),
        ([".", "--seed", "1"], "--seed is about simulated people"),
    ],
)
def test_mistakes_are_told_in_a_line_before_anything_is_judged(tmp_path, arguments, told):
    (tmp_path / "default.toml").write_text("")
    code, answer, errors = run(*arguments)
    assert (code, answer) == (2, b"")
    assert told in errors
    assert errors.count("\n") == 1


def test_more_people_than_anybody_waits_for_are_refused():
    code, _, errors = run("--people", "1001")
    assert code == 2
    assert "--people" in errors


def test_a_mistake_in_a_recording_is_told_from_the_process_that_found_it(tmp_path):
    (tmp_path / "a_frames.json").write_text('[{"timestamp": 1767603600000, "no_of_face": "two"}]')
    (tmp_path / "a_labels.json").write_text('{"intervals": []}')
    code, _, errors = run(".")
    assert code == 2
    assert "a_frames.json, element 0: no_of_face" in errors


def is_up(process: psutil.Process) -> bool:
    """Whether a process leaves Ctrl+C to its parent by now."""
    ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    assert ignored
    return bool(int(ignored[1], 16) & 1 << (signal.SIGINT - 1))


def test_ctrl_c_ends_all_processes_at_once(tmp_path):
    """Without a traceback, as a terminal sends it to the whole group."""
    command = [sys.executable, "-m", "proctor", "evaluate", "--people", "100", "--workers", "2"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    process = psutil.Process(running.pid)
    deadline = time.monotonic() + 40
    # Two workers, and the process that tidies up behind them. While one starts it ends with a traceback.
    while not (len(children := process.children(recursive=True)) == 3 and all(map(is_up, children))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    answer, errors = running.communicate(timeout=15)
    assert running.returncode == 130
    assert answer == b""
    assert b"Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_names_of_honest_kinds_say_so():
    assert sum(kind.startswith("honest-") for kind in KINDS) >= 12
    assert sum(not kind.startswith("honest-") for kind in KINDS) >= 12
