"""`proctor analyze`: read, judge, and write in the form that is wanted."""

import time
from pathlib import Path

import msgspec

from proctor.analysis.discovery import discover
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.offline.judge import choose_policy, judge
from proctor.offline.output import Format, format_of, write, write_text
from proctor.offline.recording import Recording, read_recording
from proctor.settings import Settings


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
    form = format_of(form, output)
    if form == "json":
        write(report + b"\n", output)
    elif form == "html":
        write(_page(msgspec.json.decode(report, type=Report), recording, chosen), output)
    else:
        _write_text(msgspec.json.decode(report, type=Report), output)


# Programs that read JSON start many of these, and need not wait for what draws tables and plots.


def _page(report: Report, recording: Recording, policy: Policy) -> bytes:
    from proctor.offline.page import page

    return page(report, recording, policy).encode()


def _write_text(report: Report, output: Path | None) -> None:
    from proctor.offline.text import print_report

    write_text(lambda console: print_report(report, console), output)
