"""The pieces that texts for terminals are made of."""

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def table_of(*columns: str) -> Table:
    """Make a table whose last column takes what is left of the width."""
    *others, last = columns
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), caption_justify="left")
    for name in others:
        right = name in ("from", "to", "points", "at most", "strength")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "rule")
    table.add_column(last, overflow="fold")
    return table


def heading(words: str) -> Text:
    """Write the heading of a section."""
    return Text.assemble("\n", plain(words, "bold"))


def item(words: str, style: str = "", *, indent: int = 2) -> RenderableType:
    """Set one sentence off from the margin, however many lines it takes."""
    return Padding(plain(words, style), (0, 0, 0, indent), expand=False)


def plain(words: str, style: str = "") -> Text:
    """Write words that came from outside, which must not steer the terminal."""
    return Text("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words), style)
