"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

FormatOption = Annotated[
    Literal["text", "json", "html"] | None,
    typer.Option("--format", help="By default what the ending of the output's name says, else text."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; standard output if none is given.")
]
