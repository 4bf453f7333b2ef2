"""What the benchmarks share: a clean environment, the machine they ran on, and the table that they print."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from proctor.settings import Settings

POLICIES = Path(__file__).parents[2] / "config"

Figures = dict[str, float]
"""Figures of one run by name; the name ends with the unit."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of a process on its defaults but for `settings`, wherever it is started."""
    names = {name.upper() for name in Settings.model_fields}
    clean = {name: value for name, value in os.environ.items() if name.upper() not in names}
    return clean | {"POLICY_DIRECTORY": str(POLICIES)} | settings


def machine() -> str:
    """What figures depend on besides the code."""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def table(results: Mapping[str, Sequence[Figures]], title: str, legend: str) -> Table:
    """Median, lowest and highest of every figure."""
    shown = Table(title=title, title_justify="left", caption=legend, caption_justify="left")
    for heading in ("scenario", "figure"):
        shown.add_column(heading)
    for heading in ("median", "lowest", "highest"):
        shown.add_column(heading, justify="right")
    for scenario, runs in results.items():
        for name in dict.fromkeys(name for figures in runs for name in figures):
            values = [run.get(name, 0.0) for run in runs]
            cells = (statistics.median(values), min(values), max(values))
            shown.add_row(
                scenario,
                name,
                *(f"{cell:,.{2 if cell < 10 else 1 if cell < 1000 else 0}f}" for cell in cells),
            )
        shown.add_section()
    return shown
