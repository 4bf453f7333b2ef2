"""Judging in another process, whose hashes, memory and clock are others than here."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from proctor.analysis.discovery import Plugin
from proctor.analysis.policy import Rule
from proctor.testing.checks import canonical
from proctor.testing.judging import Subject


class _Task(msgspec.Struct):
    path: list[str]
    """Where the parent imports from."""
    plugin: Sequence[str]
    settings: dict[str, Any]
    frames: list[bytes]


def judged_elsewhere(subject: Subject, frames: Sequence[bytes]) -> str:
    """Return the assessment, as JSON with sorted keys, of another process that hashes otherwise.

    Raises:
        subprocess.CalledProcessError: it failed; `stderr` says why.
    """
    task = _Task(sys.path, subject.plugin, dict(subject.rule.settings), list(frames))
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-m", "proctor.testing.replica"],
        input=msgspec.msgpack.encode(task),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
        check=False,
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, stderr=done.stderr.decode())
    return done.stdout.decode()


def _main() -> None:
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Task)
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever the analyzer prints
    sys.path[:] = task.path
    judged = Subject(Plugin(*task.plugin), Rule(settings=task.settings)).judge(task.frames)
    answer.write(canonical(judged))


if __name__ == "__main__":
    _main()
