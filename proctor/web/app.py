"""The Quart application: all routes and error handlers around the services it is given."""

from typing import Any

from quart import Blueprint
from quart_schema import HttpSecurityScheme, Info, QuartSchema
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import UnsupportedMediaType

from proctor import __version__
from proctor.errors import InvalidRequest
from proctor.services import Services
from proctor.strict_json import parse
from proctor.web.access import guard_access
from proctor.web.accommodations import accommodation_routes
from proctor.web.analyses import analysis_routes
from proctor.web.client.routes import client_routes
from proctor.web.cookies import Cookies
from proctor.web.docs import docs_routes
from proctor.web.headers import harden
from proctor.web.health import health_routes
from proctor.web.livekit import livekit_routes
from proctor.web.monitor import monitor_routes
from proctor.web.openapi import OpenAPI
from proctor.web.origins import guard_origins, origin_patterns
from proctor.web.pages.assets import asset_routes
from proctor.web.pages.home import home_routes, show_refusals
from proctor.web.pages.monitor import monitor_page
from proctor.web.pages.session import session_page
from proctor.web.pages.shell import Shell
from proctor.web.pages.sign_in import sign_in_routes
from proctor.web.pages.trying import try_page
from proctor.web.privacy import NameConverter, privacy_routes
from proctor.web.problems import add_error_handlers
from proctor.web.sessions import session_routes
from proctor.web.signals import signal_routes
from proctor.web.stream import HandedOverWebSocket, stream_routes


class StrictRequest(TrioRequest):
    """A request whose JSON is held to the same rules as the messages of a WebSocket."""

    async def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body. Raises UnsupportedMediaType, or InvalidRequest with the reason."""
        if not self.is_json:
            raise UnsupportedMediaType("send JSON, and say so: Content-Type: application/json")
        try:
            return parse(await self.get_data())
        except ValueError as failure:
            raise InvalidRequest(str(failure), field="body") from failure


class ProctorApp(QuartTrio):
    """Quart with the direct WebSocket and strict requests."""

    asgi_websocket_class = HandedOverWebSocket
    request_class = StrictRequest


def create_app(services: Services) -> QuartTrio:
    """Return the application that serves `services`. It owns nothing: they outlive it.

    Raises:
        Misconfigured: `allowed_origins` has an entry that is no origin.
    """
    app = ProctorApp("proctor", static_folder=None)
    app.url_map.converters["name"] = NameConverter
    app.url_map.merge_slashes = False  # an empty session id is a mistake, and no other address
    settings = services.settings
    app.config["MAX_CONTENT_LENGTH"] = settings.request_max_bytes
    QuartSchema(
        app,
        info=Info(title="Proctor", version=__version__),
        conversion_preference="pydantic",
        security_schemes={"bearer": HttpSecurityScheme("bearer")},
        openapi_provider_class=OpenAPI,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
    )
    harden(app)
    cookies = Cookies(settings)
    shell = Shell(cookies)
    own = [settings.public_url.rstrip("/")] if settings.public_url else []
    guard_origins(app, origin_patterns([*settings.allowed_origins, *own]))
    guard_access(app, services.gate, cookies)
    add_error_handlers(app)
    show_refusals(app, shell)
    for routes in _routes(services, cookies, shell):
        app.register_blueprint(routes)
    return app


def _routes(services: Services, cookies: Cookies, shell: Shell) -> list[Blueprint]:
    return [
        stream_routes(services),
        session_routes(services),
        accommodation_routes(services),
        analysis_routes(services),
        privacy_routes(services),
        monitor_routes(services),
        signal_routes(services),
        livekit_routes(services),
        health_routes(services),
        docs_routes(services),
        client_routes(),
        asset_routes(),
        sign_in_routes(services, cookies, shell),
        home_routes(),
        monitor_page(shell),
        session_page(services, shell),
        try_page(shell),
    ]
