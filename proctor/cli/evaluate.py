"""`proctor evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from proctor.cli.console import errors, mistakes_told, read_settings
from proctor.cli.options import FormatOption, OutputOption
from proctor.errors import InvalidRequest

_People = Annotated[int, typer.Option(min=1, max=1000, help="Simulated people of each kind.")]
_Minutes = Annotated[float, typer.Option(min=1, max=600, help="Length of each simulated exam.")]
_Fps = Annotated[float, typer.Option(min=0.1, max=60, help="Frames per second of simulated exams.")]
_Seed = Annotated[int, typer.Option(min=0, help="The same seed simulates the same people.")]
_Prevalence = Annotated[
    float, typer.Option(min=0, max=1, help="Share of candidates expected to be dishonest, for thresholds.")
]


_SIMULATED = ("people", "minutes", "fps", "seed")
"""Options that are about simulated people alone."""


def evaluate(
    context: typer.Context,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of NAME_frames.json with NAME_labels.json; without any, people are simulated.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy to judge by, a name or a file NAME.toml, else the default; several are compared."
        ),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")] = None,
    people: _People = 4,
    minutes: _Minutes = 40.0,
    fps: _Fps = 4.0,
    seed: _Seed = 1,
    only: Annotated[list[str] | None, typer.Option(help="Judge by this rule only; may be repeated.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave this rule out; may be repeated.")] = None,
    prevalence: _Prevalence = 0.02,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes to judge in; by default one per processor.")
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Tell how well policies and rules do on sessions whose truth is known, simulated or recorded.

    To choose thresholds before an exam: what would be found, how soon, and how many honest candidates a
    reviewer would be sent. The same options give the same answer.
    """
    settings = read_settings()
    from proctor.evaluation import command

    options = command.EvaluateOptions(
        recordings=recordings or (),
        policies=policy or ("default",),
        kinds=kind or (),
        people=people,
        minutes=minutes,
        fps=fps,
        seed=seed,
        only=only or (),
        without=without or (),
        prevalence=prevalence,
        workers=workers,
    )
    with mistakes_told():
        if recordings:
            _refuse_simulated(context)
        command.evaluate(settings, options, form, output, errors)


def _refuse_simulated(context: typer.Context) -> None:
    for name in _SIMULATED:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InvalidRequest(
                f"--{name} is about simulated people; leave it out with recordings", field=name
            )
