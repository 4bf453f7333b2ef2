"""`proctor analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from proctor.cli.console import mistakes_told, read_settings
from proctor.cli.options import FormatOption, OutputOption


def analyze(
    dump: Annotated[Path, typer.Argument(help="A JSON array of frames, such as a session's dump.")],
    policy: Annotated[str, typer.Option(help="Exam policy to judge by: its name, or a file NAME.toml.")] = (
        "default"
    ),
    accommodations: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with what the candidate was granted: an array as for the API, or a report.",
            exists=True,
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="An earlier report (JSON): tell what has changed, and why.", exists=True),
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Judge a dump offline, by the same analysis as a server's, and write its report.

    With --compare what is written is the difference to an earlier report; as HTML, the report with it.
    """
    settings = read_settings()
    from proctor.offline import command

    with mistakes_told():
        command.analyze(settings, command.Wish(dump, policy, accommodations, compare, form, output))
