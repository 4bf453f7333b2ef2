"""Pages that need nothing from anywhere: one HTML file each, to be kept, mailed, printed, read offline."""

from typing import Any

import msgspec
from jinja2 import ChoiceLoader, Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs


def templates(package: str = "proctor.offline") -> Environment:
    """Return the templates of a package; they may extend `page.html`, which can draw plots."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("proctor.offline")]),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def library() -> Markup:
    """Return plotly's JavaScript."""
    return Markup(get_plotlyjs())  # noqa: S704  the library itself


def script(value: Any) -> Markup:
    """Return a JSON value as JavaScript. Nothing in it can end the script element that it stands in."""
    return Markup(msgspec.json.encode(value).decode().replace("<", "\\u003c"))  # noqa: S704  escaped just here
