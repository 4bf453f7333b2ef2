"""All settings: one frozen model read from the environment and `.env`.

An environment variable carries its field's name in capitals and no prefix, e.g. `DATABASE_URL`.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may choose. Units are in the names."""

    model_config = SettingsConfigDict(env_file=".env", frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1, ge=1, description="Server processes that share the port; more than one need `REDIS_URL`."
    )
    database_url: str = Field(
        "sqlite:///proctor.sqlite3",
        description="Sessions and reports: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.",
    )
    database_timeout_seconds: float = Field(
        5.0, gt=0, description="Longest that one call to the database may take."
    )
    database_connections_max: int = Field(
        10, ge=1, description="Most connections to the database that one process has at a time."
    )
    redis_url: str = Field(
        "",
        description="Frame store: `redis://HOST:PORT/DB`. Empty means the embedded one.",
    )
    frame_store_path: Path = Field(
        Path("proctor-frames.sqlite3"), description="SQLite file of the embedded frame store."
    )
    frame_buffer_retention_seconds: int = Field(
        3600,
        ge=10,
        description="How long the frame store keeps a frame, which is on disk by then; exams may be longer.",
    )
    dump_directory: Path = Field(
        Path("analysis_dumps"),
        description="Where `{session_id}_frames.json` is written when a session ends; before, in `spool`.",
    )
    dump_encryption_key: SecretStr = Field(
        SecretStr(""),
        description="Secret age keys, newest first, with commas between: dumps are written encrypted with "
        "the first, as `{session_id}_frames.json.age`, and read with any. Empty: plain.",
    )
    dump_retention_days: float = Field(
        0, ge=0, description="Days after its end that a session's dump is removed; 0 keeps it."
    )
    report_retention_days: float = Field(
        0,
        ge=0,
        description="Days after its end that a session is removed, with reports and dump; 0 keeps it.",
    )
    session_idle_hours: float = Field(
        48.0,
        ge=0,
        description="A running session that received nothing for so long is ended by the server; 0 never.",
    )
    audit_retention_days: float = Field(
        0,
        ge=0,
        description="Days after which an entry of the audit trail is removed, within a day; 0 keeps it.",
    )
    policy_directory: Path = Field(Path("config"), description="Folder of the exam policies (`NAME.toml`).")
    heartbeat_interval_seconds: float = Field(
        10.0, gt=0, description="Time between two heartbeats on a WebSocket."
    )
    liveness_timeout_seconds: float = Field(
        30.0, gt=0, description="A WebSocket peer that sent nothing, not even a pong, for so long is let go."
    )
    send_timeout_seconds: float = Field(
        10.0, gt=0, description="A peer that does not take what it is sent for so long is cut off."
    )
    message_max_bytes: int = Field(65_536, ge=1024, description="Largest WebSocket message.")
    request_max_bytes: int = Field(262_144, ge=1024, description="Largest HTTP request body.")
    batch_max_frames: int = Field(500, ge=1, description="Most frames in one `batch` message.")
    max_frames_per_second: float = Field(
        60.0,
        ge=0,
        description="Over this a session is read more slowly, but for half a minute's worth at once. "
        "0 is no limit.",
    )
    invalid_messages_max: int = Field(
        100, ge=1, description="A WebSocket is closed after this many unusable messages within a minute."
    )
    session_connections_max: int = Field(
        32, ge=0, description="Most WebSockets that one session has open at a time. 0 is no limit."
    )
    address_connections_max: int = Field(
        20_000,
        ge=0,
        description="Most WebSockets that are open from one address, which a whole exam hall may share. "
        "0 is no limit.",
    )
    key_requests_per_second: float = Field(
        100.0,
        ge=0,
        description="Most requests with one key, or of one session with its tokens; half a minute's worth at "
        "once. 0 is no limit.",
    )
    address_requests_per_second: float = Field(
        500.0,
        ge=0,
        description="Most requests from one address without a key or token; half a minute's worth at once. "
        "0 is no limit.",
    )
    address_failures_per_minute: float = Field(
        60.0, ge=0, description="Most wrong keys and tokens from one address. 0 is no limit."
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Addresses and networks (`10.0.0.0/24`) of reverse proxies whose `X-Forwarded-For` says "
        "where a request comes from.",
    )
    ingest_buffer_messages: int = Field(
        10_000, ge=1, description="Messages received but not yet stored; when full, reading stops."
    )
    ingest_buffer_bytes: int = Field(
        12_582_912,
        ge=1024,
        description="Memory for messages received but not yet stored, in bytes; when full, reading stops.",
    )
    commit_max_messages: int = Field(500, ge=1, description="Most messages in one group commit.")
    analyze_interval_seconds: float = Field(
        1.0, ge=0, description="Least time between two analyze requests for one session."
    )
    analysis_refresh_seconds: float = Field(
        20.0, gt=0, description="How often a running session's new frames are folded into its analysis."
    )
    analysis_timeout_seconds: float = Field(
        10.0, gt=0, description="Longest that one analyzer may take over one batch of frames."
    )
    analysis_workers: int = Field(1, ge=1, description="Worker processes that judge sessions.")
    analysis_memory_mb: int = Field(
        1024, ge=256, description="Address space an analysis worker may add to its start, in MiB."
    )
    required_analyzers: list[str] = Field(
        [], description="Entry-point names without which the server refuses to start."
    )
    shutdown_timeout_seconds: float = Field(10.0, gt=0, description="From SIGTERM to exit, at the most.")
    reconnect_spread_seconds: float = Field(
        10.0,
        ge=0,
        description="A server that stops tells its clients to come back within so long, at random.",
    )
    authentication: Literal["auto", "required"] = Field(
        "auto",
        description="`auto`: on once `proctor keys create` has made a key; before, the server listens on "
        "loopback addresses only. `required`: on also without keys.",
    )
    candidate_token_seconds: int = Field(
        12 * 3600, ge=60, description="How long the token that `start` returns is valid."
    )
    transparency_link_seconds: int = Field(
        14 * 24 * 3600,
        ge=60,
        description="How long a link to what is kept about a candidate is valid.",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#\s]+/?)?$",
        description="Address of this server as browsers see it, `https://proctor.example.org`.",
    )
    sign_in_seconds: int = Field(
        10 * 3600, ge=60, description="How long somebody stays signed in to the web pages."
    )
    oidc_issuer: str = Field(
        "", description="OpenID provider whose accounts may sign in to the pages; needs `PUBLIC_URL`."
    )
    oidc_client_id: str = Field("", description="What the OpenID provider calls this server.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="Secret that goes with it; empty for a public client."
    )
    oidc_scope: str = Field(
        "openid email profile", description="What is asked of the OpenID provider, between spaces."
    )
    oidc_roles_claim: str = Field(
        "groups", description="Claim of the ID token that has the names which `OIDC_ROLES` maps."
    )
    oidc_roles: dict[str, list[str]] = Field(
        {},
        description='Roles by group: `{"exam-office": ["proctor", "reviewer"]}`. Who has none stays outside.',
    )
    allowed_origins: list[str] = Field(
        ["http://localhost:*", "http://127.0.0.1:*"],
        description="Origins of pages that may call from elsewhere; `:*` is any port, `*` any origin.",
    )
    webhook_private_networks: list[str] = Field(
        [],
        description="Networks, such as `10.0.0.0/8`, that are not public and that webhooks go to "
        "nevertheless, also without TLS.",
    )
    webhook_retention_days: float = Field(
        30, gt=0, description="Days that a webhook's deliveries stay listed once they are over."
    )
    livekit_url: str = Field("", description="LiveKit server that clients connect to, `wss://…`.")
    livekit_api_key: str = Field("", description="LiveKit API key.")
    livekit_api_secret: SecretStr = Field(SecretStr(""), description="LiveKit API secret.")
    livekit_room_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Page that shows a room to proctors, with `{url}` and `{token}` where LiveKit's address "
        "and a token go.",
    )
    livekit_token_seconds: int = Field(4 * 3600, ge=60, description="How long a LiveKit token is valid.")
    log_format: Literal["text", "json"] = Field("text", description="One line per event, as text or JSON.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity logged."
    )
