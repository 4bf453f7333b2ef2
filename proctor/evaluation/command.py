"""`proctor evaluate`: choose sessions and policies, judge, and write in the form that is wanted."""

import difflib
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from proctor import __version__
from proctor.analysis.discovery import LoadedPlugin, discover
from proctor.analysis.policy import Policy
from proctor.errors import InvalidRequest
from proctor.evaluation.alerts import Judge
from proctor.evaluation.measure import Measured
from proctor.evaluation.sittings import Sitting, recorded, simulated
from proctor.evaluation.spread import measure_all
from proctor.evaluation.summary import Evaluation, policy_result
from proctor.offline.judge import choose_policy
from proctor.offline.output import Format, check_folder, format_of, write, write_text
from proctor.settings import Settings


class EvaluateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `proctor evaluate` can be told."""

    recordings: Sequence[Path] = ()
    """Folders of labelled recordings; simulated people if there are none."""
    policies: Sequence[str] = ("default",)
    """Names or files."""
    kinds: Sequence[str] = ()
    """All if none is named."""
    people: int = 4
    """Simulated people of each kind."""
    minutes: float = 40.0
    """Length of simulated exams."""
    fps: float = 4.0
    """Frames per second of simulated exams."""
    seed: int = 1
    """The same seed simulates the same people."""
    only: Sequence[str] = ()
    """Rules to judge by; all if none is named."""
    without: Sequence[str] = ()
    """Rules to leave out."""
    prevalence: float = 0.02
    """Share of candidates that is expected to be dishonest, for what a review threshold is worth."""
    workers: int | None = None
    """Processes; as many as there are processors if None."""


def evaluate(
    settings: Settings,
    options: EvaluateOptions,
    form: Format | None,
    output: Path | None,
    display: Console,
) -> None:
    """Judge all sessions by all policies and write what came of it; `display` shows how far it is. Blocks.

    Raises:
        InvalidRequest: an option, a recording or its labels are no good.
        Misconfigured: an analyzer or a policy is.
        KeyboardInterrupt: Ctrl+C, with all processes ended.
    """
    check_folder(output)
    judges = _judges(settings, options)
    sittings = _sittings(options)
    seconds = settings.analysis_timeout_seconds
    measured = _measured(sittings, list(judges.values()), options.workers, seconds, display)
    results = [
        policy_result(judge.policy, name, [each[place] for each in measured], options.prevalence)
        for place, (name, judge) in enumerate(judges.items())
    ]
    evaluation = Evaluation(
        proctor=__version__,
        source=_source(options, sittings),
        prevalence=options.prevalence,
        policies=results,
    )
    form = format_of(form, output)
    if form == "json":
        write(msgspec.json.encode(evaluation) + b"\n", output)
    elif form == "html":
        _write_page(evaluation, output)
    else:
        _write_text(evaluation, output)


# What draws plots and tables takes long to load, and programs that read JSON need neither.


def _write_page(evaluation: Evaluation, output: Path | None) -> None:
    from proctor.evaluation.page import page

    write(page(evaluation).encode(), output)


def _write_text(evaluation: Evaluation, output: Path | None) -> None:
    from proctor.evaluation.text import print_evaluation

    write_text(partial(print_evaluation, evaluation), output)


def _judges(settings: Settings, options: EvaluateOptions) -> dict[str, Judge]:
    analyzers = discover(settings.required_analyzers)
    names = [loaded.plugin.name for loaded in analyzers]
    _refuse_unknown(options.only, names, "only")
    _refuse_unknown(options.without, names, "without")
    judges: dict[str, Judge] = {}
    for wanted in dict.fromkeys(options.policies):
        policy = choose_policy(wanted, settings.policy_directory, analyzers)
        if policy.name in judges:
            raise InvalidRequest(
                f"two policies are named {policy.name!r}; give one of the files another name", field="policy"
            )
        judges[policy.name] = Judge(analyzers, _with_rules(policy, analyzers, options))
    return judges


def _refuse_unknown(rules: Iterable[str], known: Sequence[str], option: str) -> None:
    for rule in rules:
        if rule not in known:
            close = difflib.get_close_matches(rule, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"rules are {', '.join(known)}"
            raise InvalidRequest(f"--{option} {rule}: no such rule; {hint}", field=option)


def _with_rules(policy: Policy, analyzers: Sequence[LoadedPlugin], options: EvaluateOptions) -> Policy:
    names = {loaded.plugin.name for loaded in analyzers}
    off = (names - set(options.only) if options.only else set()) | set(options.without)
    rules = {
        name: replace(rule, enabled=False) if name in off else rule for name, rule in policy.rules.items()
    }
    left = [name for name, rule in rules.items() if rule.enabled]
    if not left:
        raise InvalidRequest(f"policy {policy.name!r} has no rule left to judge by", field="without")
    if all(map(policy.on_trial, left)):
        raise InvalidRequest(
            f"policy {policy.name!r} has no rule left that scores; on trial: {', '.join(left)}",
            field="without",
        )
    return replace(policy, rules=rules)


def _sittings(options: EvaluateOptions) -> Sequence[Sitting]:
    if options.recordings:
        return recorded(options.recordings, options.kinds)
    return [*simulated(options.kinds, options.people, options.minutes, options.fps, options.seed)]


def _source(options: EvaluateOptions, sittings: Sequence[Sitting]) -> str:
    rules = [f"only {', '.join(options.only)}"] if options.only else []
    rules += [f"without {', '.join(options.without)}"] if options.without else []
    if options.recordings:
        folders = ", ".join(path.resolve().name for path in options.recordings)
        return "; ".join([f"{len(sittings)} labelled recordings of {folders}", *rules])
    exams = f"{len(sittings)} simulated exams of {options.minutes:g} minutes"
    rate = f"{options.fps:g} frames per second, seed {options.seed}"
    return "; ".join([f"{exams}, {options.people} of each kind, {rate}", *rules])


def _measured(
    sittings: Sequence[Sitting],
    judges: Sequence[Judge],
    workers: int | None,
    seconds: float,
    display: Console,
) -> list[list[Measured]]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("sessions"), TimeElapsedColumn())
    workers = min(workers or os.cpu_count() or 1, len(sittings))
    with Progress(*columns, console=display, transient=True, disable=not display.is_terminal) as progress:
        bar = progress.add_task("", total=len(sittings))
        try:
            done = partial(progress.advance, bar)
            return trio.run(measure_all, sittings, judges, workers, seconds, done)
        except BaseExceptionGroup as group:
            if group.subgroup(KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
