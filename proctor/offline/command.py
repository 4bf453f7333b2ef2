"""`proctor analyze`: read, judge, and write in the form that is wanted."""

import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

from proctor.analysis.discovery import discover
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.errors import InvalidRequest
from proctor.offline.judge import choose_policy, judge
from proctor.offline.recording import Recording, read_recording
from proctor.settings import Settings

Format = Literal["text", "json", "html"]

_FORMATS: dict[str, Format] = {".json": "json", ".html": "html"}
"""By the ending of the file that is written; any other is text."""


def analyze(settings: Settings, dump: Path, policy: str, form: Format | None, output: Path | None) -> None:
    """Write the report on a dump to `output`, or to standard output. Blocks.

    Raises:
        InvalidRequest: the dump, the name of the policy or the file to write is no good.
        Misconfigured: an analyzer or a policy is.
    """
    analysed_ms = time.time_ns() // 1_000_000
    recording = read_recording(dump, analysed_ms)
    analyzers = discover(settings.required_analyzers)
    chosen = choose_policy(policy, settings.policy_directory, analyzers)
    report = judge(recording, analyzers, chosen, analysed_ms)
    form = form or _FORMATS.get(output.suffix if output else "", "text")
    if form == "json":
        _write(report + b"\n", output)
    elif form == "html":
        _write(_page(msgspec.json.decode(report, type=Report), recording, chosen), output)
    else:
        _write_text(msgspec.json.decode(report, type=Report), output)


def _write(data: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"cannot write {output}: {error.strerror or error}") from error


# Programs that read JSON start many of these, and need not wait for what draws tables and plots.


def _page(report: Report, recording: Recording, policy: Policy) -> bytes:
    from proctor.offline.page import page

    return page(report, recording, policy).encode()


def _write_text(report: Report, output: Path | None) -> None:
    from proctor.offline.text import print_report, written

    if output is None:
        print_report(report)
    else:
        _write(written(report).encode(), output)
