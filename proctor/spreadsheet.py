"""Rows as CSV for spreadsheets, in which nothing that came from outside can be a formula. Pure."""

import csv
import io
from collections.abc import Iterable

BOM = "\ufeff"
"""Stands first in a file: without it Excel takes UTF-8 for the code page of its machine."""

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes a cell for a formula by, also in full width, or splits it at.

https://owasp.org/www-community/attacks/CSV_Injection
"""


def csv_rows(rows: Iterable[Iterable[str | float | None]]) -> str:
    """Return rows as RFC 4180 has them: texts in quotes, lines that end in CR LF; None is an empty cell.

    A text that would begin a formula has an apostrophe before it. Numbers are ours and stand as they are.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    for row in rows:
        writer.writerow(["" if cell is None else _safe(cell) for cell in row])
    return file.getvalue()


def _safe(cell: str | float) -> str | float:
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_STARTS):
        return f"'{cell}"
    return cell
