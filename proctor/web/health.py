"""Whether the server is well, for load balancers and for Prometheus."""

from collections.abc import Awaitable, Callable

import trio
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from quart import Blueprint, Response
from quart_schema import document_response, hide

from proctor import __version__
from proctor.errors import Unavailable
from proctor.services import Services

_PROBE_SECONDS = 2.0


class Retention(BaseModel):
    """How long each kind of data is kept, by the settings."""

    frames_seconds: int = Field(description="In the frame store, after they were stored.")
    dumps_days: float | None = Field(description="After the session's end; null is until they are erased.")
    reports_days: float | None = Field(description="With their sessions, as dumps.")
    audit_days: float | None = Field(description="Entries of the audit trail; null is for good.")


class Health(BaseModel):
    """State of the server and of what it needs."""

    status: str = Field(description="`ok` or `degraded`.")
    degraded: dict[str, str] = Field(description="What is not well, with why; empty when all is well.")
    version: str
    database: str = Field(description="`sqlite` or `postgresql`.")
    frame_store: str = Field(description="`embedded` or `redis`.")
    durability: str = Field(
        description="What an acknowledged frame survives: loss of `power`, `process` kill, or `volatile`."
    )
    retention: Retention
    connections: int = Field(description="Open WebSocket connections of the process that answers.")


def health_routes(services: Services) -> Blueprint:
    """Return the routes about the server's own state."""
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    @document_response(Health)
    @document_response(Health, 503)
    async def health() -> Response:
        """Tell whether the server is well: 200, or 503 with what is degraded."""
        degraded = dict(services.supervisor.failures)
        probes: dict[str, Callable[[], Awaitable[None]]] = {
            "database": services.database.ping,
            "frame_store": services.store.ping,
        }

        async def probe(name: str, ping: Callable[[], Awaitable[None]]) -> None:
            try:
                with trio.fail_after(_PROBE_SECONDS):
                    await ping()
            except (Unavailable, trio.TooSlowError) as failure:
                degraded[name] = str(failure) or f"no answer within {_PROBE_SECONDS} s"

        async with trio.open_nursery() as nursery:
            for name, ping in probes.items():
                nursery.start_soon(probe, name, ping)
        state = Health(
            status="degraded" if degraded else "ok",
            degraded=degraded,
            version=__version__,
            database=services.database.kind,
            frame_store=services.store.kind,
            durability=services.store.durability,
            retention=Retention(
                frames_seconds=services.settings.frame_buffer_retention_seconds,
                dumps_days=services.settings.dump_retention_days or None,
                reports_days=services.settings.report_retention_days or None,
                audit_days=services.settings.audit_retention_days or None,
            ),
            connections=len(services.roster),
        )
        return Response(state.model_dump_json(), 503 if degraded else 200, content_type="application/json")

    @routes.get("/metrics")
    @hide
    async def metrics() -> Response:
        return Response(services.metrics.render(), content_type=CONTENT_TYPE_LATEST)

    return routes
