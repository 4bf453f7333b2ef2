"""Judging in other processes, whose hashes, memory and clock are others than here."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proctor.analysis.discovery import Plugin
from proctor.analysis.policy import Rule
from proctor.testing.checks import canonical
from proctor.testing.judging import Subject

_HASH_SEEDS = ("1", "2")


class _Task(msgspec.Struct):
    path: list[str]
    """Where the parent imports from."""
    plugin: Sequence[str]
    settings: dict[str, Any]
    frames: list[bytes]


def judged_elsewhere(subject: Subject, frames: Sequence[bytes]) -> list[str]:
    """Return the assessment, as JSON with sorted keys, of each of two processes that hash differently.

    Raises:
        subprocess.CalledProcessError: one failed; its `stderr` says why.
    """
    task = _Task(sys.path, subject.plugin, dict(subject.rule.settings), list(frames))
    given = msgspec.msgpack.encode(task)
    running = [_start({"PYTHONHASHSEED": seed}) for seed in _HASH_SEEDS]
    answers = []
    for process in running:
        said, complaint = process.communicate(given)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, said, complaint.decode())
        answers.append(said.decode())
    return answers


def _start(environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "proctor.testing.replica"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def _main() -> None:
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Task)
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever the analyzer prints
    sys.path[:] = task.path
    judged = Subject(Plugin(*task.plugin), Rule(settings=task.settings)).judge(task.frames)
    answer.write(canonical(judged))


if __name__ == "__main__":
    _main()
