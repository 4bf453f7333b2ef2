"""An analyzer's own section of the report, as lines for people."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

ENTRIES_MAX = 30
VALUE_CHARACTERS_MAX = 300
"""What a section may take of a page; the report as JSON has all of it."""


def entries(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each key with its value in one line: text as it is, anything else as JSON, long ones cut."""
    shown = [(key, _line(value)) for key, value in islice(details.items(), ENTRIES_MAX)]
    if len(details) > ENTRIES_MAX:
        shown.append(("…", f"{len(details) - ENTRIES_MAX} more"))
    return shown


def _line(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"
