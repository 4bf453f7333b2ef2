"""The Quart application: all routes and error handlers around the services it is given."""

from quart_cors import cors
from quart_schema import Info, QuartSchema
from quart_trio import QuartTrio

from proctor import __version__
from proctor.services import Services
from proctor.web.docs import OpenAPI, docs_routes
from proctor.web.health import health_routes
from proctor.web.livekit import livekit_routes
from proctor.web.origins import origin_patterns
from proctor.web.problems import add_error_handlers
from proctor.web.sessions import session_routes
from proctor.web.stream import DirectWebSocket, stream_routes


class ProctorApp(QuartTrio):
    """Quart with the direct WebSocket."""

    asgi_websocket_class = DirectWebSocket


def create_app(services: Services) -> QuartTrio:
    """Return the application that serves `services`. It owns nothing: they outlive it.

    Raises:
        Misconfigured: `allowed_origins` has an entry that is no origin.
    """
    app = ProctorApp("proctor", static_folder=None)
    settings = services.settings
    app.config["MAX_CONTENT_LENGTH"] = settings.request_max_bytes
    patterns = origin_patterns(settings.allowed_origins)
    QuartSchema(
        app,
        info=Info(title="Proctor", version=__version__),
        conversion_preference="pydantic",
        openapi_provider_class=OpenAPI,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
    )
    cors(app, allow_origin=patterns, allow_headers=["Content-Type"], expose_headers=["Retry-After"])
    add_error_handlers(app)
    for routes in (
        stream_routes(services, patterns),
        session_routes(services),
        livekit_routes(settings),
        health_routes(services),
        docs_routes(services),
    ):
        app.register_blueprint(routes)
    return app
