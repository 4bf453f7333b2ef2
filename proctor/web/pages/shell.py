"""What all pages share: their frame, their languages, and their files."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup
from quart import Response, g, request

from proctor.access.pages import PageSession
from proctor.access.roles import Principal
from proctor.web.access import PAGES
from proctor.web.cookies import Cookies

Texts = dict[str, Any]
"""Texts by name, in tables by page."""

LANGUAGES = {"en": "English", "de": "Deutsch"}
"""Languages of the pages by their code, in their own names; the first is for whoever reads none of them."""

_MARKS = {"en": ",.", "de": ".,"}
"""What stands between thousands, and before what is less than one."""

_MENU = (
    ("monitor", "/monitor", "pages.monitor"),
    ("review", "/review", "pages.review"),
    ("webhooks", "/webhooks", "webhook_pages.show"),
)
"""Pages that everything else is reached from: their names, addresses and endpoints."""

_templates = Environment(
    loader=PackageLoader("proctor.web.pages", "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ANGLES = {ord(angle): f"\\u{ord(angle):04x}" for angle in "<>&"}


@pass_context
def _number(context: Context, value: float, digits: int | None = None) -> str:
    """Write a number as readers of the page's language do, with so many decimals or those that it has."""
    written = f"{value:,g}" if digits is None else f"{value:,.{digits}f}"
    return written.translate(str.maketrans(",.", _MARKS[context["language"]]))


_templates.filters["number"] = _number


@cache
def texts_of(language: str) -> Texts:
    """Return the texts in a language."""
    return tomllib.loads(files(__package__).joinpath(f"texts/{language}.toml").read_text(encoding="utf-8"))


class Shell:
    """Makes pages for whoever asks, in the language that their browser asks for."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    def page(self, name: str, *, status: int = 200, **content: Any) -> Response:
        """Return the page that `templates/NAME.html` makes of this content."""
        language = self.language()
        texts = texts_of(language)
        somebody: Principal | None = g.get("principal")
        session: PageSession | None = g.get("page_session")
        body = _templates.get_template(f"{name}.html").render(
            name=name,
            language=language,
            languages=LANGUAGES,
            texts=texts,
            script_texts=data({"common": texts["common"], **texts.get(name, {})}),
            here=request.full_path.removesuffix("?"),
            signed_in=session.name if session is not None else None,
            csrf_token=session.csrf if session is not None else "",
            menu=menu_of(somebody),
            **content,
        )
        response = Response(body, status, content_type="text/html; charset=utf-8")
        response.headers["Content-Language"] = language
        response.vary.update(("Accept-Language", "Cookie"))
        return response

    def language(self) -> str:
        """Return the language that the request's reader has chosen, or else their browser prefers."""
        chosen = request.cookies.get(self._cookies.language)
        if chosen in LANGUAGES:
            return chosen
        wanted = (tag.partition("-")[0].lower() for tag in request.accept_languages.values())
        return next((language for language in wanted if language in LANGUAGES), next(iter(LANGUAGES)))


def menu_of(somebody: Principal | None) -> list[tuple[str, str]]:
    """Return the names and addresses of the pages that somebody may open."""
    roles = somebody.roles if somebody is not None else frozenset()
    return [(page, url) for page, url, endpoint in _MENU if PAGES[endpoint] & roles]


def first_page(somebody: Principal) -> str:
    """Return where somebody is to begin."""
    return next((url for _, url in menu_of(somebody)), "/docs")


def data(value: object) -> Markup:
    """Return JSON that may stand in a `<script type="application/json">`, whatever texts it holds."""
    return Markup(msgspec.json.encode(value).decode().translate(_ANGLES))  # noqa: S704 - no markup is left in it


def local_path(given: str | None) -> str:
    """Return the path of a page of ours to go on to; the first one for anything else."""
    return given if given and re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", given) else "/"
