"""The Quart application: all routes and error handlers around the services it is given."""

from collections.abc import Iterator
from typing import Any

from quart import Blueprint
from quart_schema import HttpSecurityScheme, Info, QuartSchema
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import UnsupportedMediaType

from proctor import __version__
from proctor.access.limits import Limits
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
from proctor.web.messages import message_routes
from proctor.web.milestones import milestone_routes
from proctor.web.monitor import monitor_routes
from proctor.web.openapi import OpenAPI
from proctor.web.origins import Own, guard_origins, origin_patterns
from proctor.web.pages.assets import asset_routes
from proctor.web.pages.exam import exam_page
from proctor.web.pages.home import home_routes, show_refusals
from proctor.web.pages.plain import plain_pages
from proctor.web.pages.session import session_page
from proctor.web.pages.shell import Shell
from proctor.web.pages.sign_in import sign_in_routes
from proctor.web.pages.webhooks import webhook_pages
from proctor.web.privacy import NameConverter, privacy_routes
from proctor.web.problems import add_error_handlers
from proctor.web.proxies import BehindProxies, proxy_networks
from proctor.web.review import review_routes
from proctor.web.review_exports import export_routes
from proctor.web.sessions import session_routes
from proctor.web.signals import signal_routes
from proctor.web.statistics import Counting, statistics_routes
from proctor.web.stream import HandedOverWebSocket, stream_routes
from proctor.web.transparency import transparency_routes
from proctor.web.webhooks import webhook_routes


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
        Misconfigured: `allowed_origins` has an entry that is no origin, or `trusted_proxies` one that is no
            address.
    """
    app = ProctorApp("proctor", static_folder=None)
    app.url_map.converters["name"] = NameConverter
    app.url_map.merge_slashes = False  # an empty session id is a mistake, and no other address
    settings = services.settings
    app.config["MAX_CONTENT_LENGTH"] = settings.request_max_bytes
    _describe(app)
    harden(app)
    own = Own(settings.public_url)
    cookies = Cookies(own)
    shell = Shell(cookies)
    guard_origins(app, origin_patterns(settings.allowed_origins), own)
    limits = Limits(settings)
    guard_access(app, services.gate, cookies, limits)
    add_error_handlers(app)
    show_refusals(app, shell)
    for routes in (*_api_routes(services, cookies), *_page_routes(services, cookies, shell, limits)):
        app.register_blueprint(routes)
    app.asgi_app = BehindProxies(app.asgi_app, proxy_networks(settings.trusted_proxies))  # type: ignore[method-assign]
    return app


def _api_routes(services: Services, cookies: Cookies) -> Iterator[Blueprint]:
    """Return what programs use."""
    yield stream_routes(services)
    yield session_routes(services)
    yield accommodation_routes(services)
    yield analysis_routes(services)
    yield review_routes(services)
    yield export_routes(services)
    yield statistics_routes(Counting(services.reviewing.reviews))
    yield privacy_routes(services)
    yield monitor_routes(services, cookies)
    yield message_routes(services)
    yield signal_routes(services)
    yield livekit_routes(services)
    yield milestone_routes(services)
    yield webhook_routes(services)
    yield health_routes(services)
    yield docs_routes(services)


def _page_routes(services: Services, cookies: Cookies, shell: Shell, limits: Limits) -> Iterator[Blueprint]:
    """Return what people look at."""
    yield client_routes()
    yield asset_routes()
    yield sign_in_routes(services, cookies, shell, limits)
    yield home_routes()
    yield plain_pages(shell)
    yield session_page(services, shell)
    yield exam_page(shell, Counting(services.reviewing.reviews), services.policies)
    yield transparency_routes(services, shell)
    yield webhook_pages(services, shell)


def _describe(app: ProctorApp) -> None:
    """Have quart-schema check what comes and goes, and write the OpenAPI document."""
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
