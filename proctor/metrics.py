"""What `/metrics` shows: one registry per server, so that two servers in one process do not mix.

Workers that share a port keep their figures in files of one folder, and each of them shows the sum.
"""

import os
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the workers' folder. The library reads it when it is imported."""

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """All metrics of one server. Names follow Prometheus' rules: base units, counters end in `_total`."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        counter = partial(Counter, registry=registry)
        seconds = partial(Histogram, buckets=_LATENCY_BUCKETS, registry=registry)
        self.connections = gauge("proctor_connections", "Open WebSocket connections.")
        self.frames_stored = counter("proctor_frames_stored", "Frames stored.")
        self.messages = counter(
            "proctor_messages", "Client messages by what became of them.", labelnames=["outcome"]
        )
        self.acks = counter("proctor_acks", "Messages acknowledged.")
        self.errors = counter(
            "proctor_message_errors", "Client messages that could not be used.", labelnames=["code"]
        )
        self.commit_messages = Histogram(
            "proctor_commit_messages",
            "Messages in one group commit.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.commit_seconds = seconds("proctor_commit_seconds", "Time for one group commit.")
        self.store_lag_seconds = seconds(
            "proctor_store_lag_seconds",
            "From receipt until stored, of each commit's oldest message.",
        )
        self.ingest_waiting = gauge(
            "proctor_ingest_waiting_messages", "Messages received but not yet stored."
        )
        self.ingest_waiting_bytes = gauge(
            "proctor_ingest_waiting_bytes", "Memory of messages received but not yet stored."
        )
        self.analysis_seconds = seconds(
            "proctor_analysis_seconds", "Time for one analysis job.", labelnames=["job"]
        )
        self.spools_behind = gauge("proctor_spools_behind", "Sessions whose spools lack stored frames.")
        self.frames_lost = counter("proctor_frames_lost", "Frames that expired before they were spooled.")
        self.sessions_ended = counter("proctor_sessions_ended", "Sessions finalised.")
        self.webhook_attempts = counter(
            "proctor_webhook_attempts", "Attempts to deliver a webhook, by outcome.", labelnames=["outcome"]
        )

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        folder = os.environ.get(SHARED_FOLDER)
        if folder is None:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, folder)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
