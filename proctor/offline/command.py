"""`proctor analyze`: read, judge, and write in the form that is wanted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proctor.analysis.compare import Comparison, compare
from proctor.analysis.discovery import discover
from proctor.analysis.granting import Granting
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.errors import InvalidRequest
from proctor.offline.judge import choose_policy, judge
from proctor.offline.output import Format, format_of, write, write_text
from proctor.offline.recording import Recording, read_recording
from proctor.settings import Settings
from proctor.strict_json import parse


class Wish(NamedTuple):
    """What the command line asks for."""

    dump: Path
    policy: str
    """A name, or a TOML file."""
    accommodations: Path | None = None
    """JSON: an array of accommodations, or an object, such as a report, that has one."""
    compare: Path | None = None
    """An earlier report on the same session, as JSON."""
    form: Format | None = None
    """None: as the ending of `output` says."""
    output: Path | None = None
    """None: standard output."""


def analyze(settings: Settings, wish: Wish) -> None:
    """Write the report on a dump, or what it says otherwise than an earlier one. Blocks.

    Raises:
        InvalidRequest: the dump, the name of the policy, a file to read or the one to write is no good.
        Misconfigured: an analyzer or a policy is.
    """
    analysed_ms = time.time_ns() // 1_000_000
    recording = read_recording(wish.dump, analysed_ms)
    analyzers = discover(settings.required_analyzers)
    policy = choose_policy(wish.policy, settings.policy_directory, analyzers)
    if wish.accommodations is not None:
        granting = Granting(analyzers, {policy.name: policy})
        granted = granting.read(_accommodations(wish.accommodations), policy.name)
        recording = recording._replace(
            session=msgspec.structs.replace(recording.session, accommodations=granted)
        )
    report = judge(recording, analyzers, policy, settings, analysed_ms)
    comparison = None if wish.compare is None else _compared(wish.compare, report)
    form = format_of(wish.form, wish.output)
    if form == "json":
        write((report if comparison is None else msgspec.json.encode(comparison)) + b"\n", wish.output)
    elif form == "html":
        told = msgspec.json.decode(report, type=Report)
        write(_page(told, recording, policy, comparison), wish.output)
    else:
        _write_text(comparison or msgspec.json.decode(report, type=Report), wish.output)


def _compared(path: Path, report: bytes) -> Comparison:
    before = _read(path)
    try:
        return compare(before, report)
    except InvalidRequest as error:
        raise InvalidRequest(f"cannot compare with {path}: {error.detail}", field=error.field) from error


def _accommodations(path: Path) -> Sequence[Any]:
    data = _read(path)
    try:
        value = parse(data)
        if isinstance(value, dict):
            if "accommodations" not in value:
                raise ValueError("the object has no such key")
            value = value["accommodations"]
        # In a report each stands beside what it suppressed.
        return [each.get("accommodation", each) for each in msgspec.convert(value, list[dict[str, Any]])]
    except ValueError as error:  # msgspec's too
        detail = (
            f"{path} must hold a JSON array of accommodations, or an object, such as a report, "
            f"with such an array under 'accommodations': {error}"
        )
        raise InvalidRequest(detail, field="accommodations") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error


# Programs that read JSON start many of these, and need not wait for what draws tables and plots.


def _page(report: Report, recording: Recording, policy: Policy, comparison: Comparison | None) -> bytes:
    from proctor.offline.page import page

    return page(report, recording, policy, comparison).encode()


def _write_text(told: Report | Comparison, output: Path | None) -> None:
    from proctor.offline.text import print_text

    write_text(lambda console: print_text(told, console), output)
