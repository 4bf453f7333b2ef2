"""How pages are made of their templates."""

import re

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape

templates = Environment(
    loader=PackageLoader("proctor.web", "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)


def _prose(text: str) -> Markup:
    """Set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just here


templates.filters["prose"] = _prose
