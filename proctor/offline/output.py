"""Where results go, and in which form: for a terminal of any width, a pipe or a file."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rich.console import Console

from proctor.errors import InvalidRequest

Format = Literal["text", "json", "html"]

_FORMATS: dict[str, Format] = {".json": "json", ".html": "html"}
"""By the ending of the file that is written; any other is text."""

FILE_COLUMNS = 110


def format_of(form: Format | None, output: Path | None) -> Format:
    """Return the format asked for, else what the ending of the file's name says."""
    return form or _FORMATS.get(output.suffix if output else "", "text")


def check_folder(output: Path | None) -> None:
    """Tell before long work, not after it, that there is no folder to write to.

    Raises:
        InvalidRequest: as :func:`write` would.
    """
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise InvalidRequest(f"cannot write {output}: there is no such folder, or it is one", field="output")


def write(data: bytes, output: Path | None) -> None:
    """Write to a file, or to standard output. Blocks.

    Raises:
        InvalidRequest: the file cannot be written.
    """
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"cannot write {output}: {error.strerror or error}") from error


def write_text(show: Callable[[Console], None], output: Path | None) -> None:
    """Write what `show` prints, in colours where standard output has them. Raises as :func:`write`."""
    if output is None:
        show(Console(highlight=False))
    else:
        write(rendered(show).encode(), output)


def rendered(show: Callable[[Console], None]) -> str:
    """Return what `show` prints as it stands in a file."""
    file = io.StringIO()
    show(Console(file=file, width=FILE_COLUMNS, highlight=False, force_terminal=False))
    return file.getvalue()
