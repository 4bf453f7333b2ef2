"""The relational schema. The migrations bring a database to it; a test compares the two."""

import sqlalchemy as sa

KEY_CHARACTERS = 512
"""Longest name of a candidate, an exam or a policy. PostgreSQL refuses index entries of over 2,704 bytes, and
a name of four bytes per character has to fit, with a session id beside it."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Byte order on both databases, so that pages are cut alike whatever the locale of the PostgreSQL server.
_session_id = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")

exam_sessions = sa.Table(
    "exam_sessions",
    metadata,
    sa.Column("session_id", _session_id, primary_key=True),
    sa.Column("candidate_id", sa.String(KEY_CHARACTERS)),
    sa.Column("exam_id", sa.String(KEY_CHARACTERS)),
    sa.Column("policy", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("metadata", sa.Text, nullable=False, comment="JSON object"),
    sa.Column("accommodations", sa.Text, nullable=False, server_default="[]", comment="JSON array"),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("dumped", sa.Boolean, nullable=False),
    sa.CheckConstraint("status IN ('active', 'ending', 'ended')", name="status"),
    # Each serves one filter and the order that every listing is in.
    sa.Index(None, "started_ms", "session_id"),
    sa.Index(None, "status", "started_ms", "session_id"),
    sa.Index(None, "exam_id", "started_ms", "session_id"),
    sa.Index(None, "candidate_id", "started_ms", "session_id"),
)
"""One row per session, as in :class:`proctor.model.ExamSession`."""

exam_analyses = sa.Table(
    "exam_analyses",
    metadata,
    sa.Column("session_id", _session_id, sa.ForeignKey("exam_sessions.session_id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, server_default="1", autoincrement=False),
    sa.Column("report", sa.Text, nullable=False, comment="the report's JSON, byte for byte"),
    sa.Column("policy", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("analysed_ms", sa.BigInteger, nullable=False),
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("review_priority", sa.String(16), nullable=False),
    sa.Column("is_cheating", sa.Boolean, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("confidence_level", sa.String(16), nullable=False),
    sa.Column("verdict_basis", sa.Text, nullable=False),
    sa.Column("requested_by", sa.String(KEY_CHARACTERS)),
    sa.Column("reason", sa.Text),
    sa.Column("findings", sa.String(64)),
    sa.Index(None, "review_priority", "score"),
)
"""The final report of each session, with its verdict in columns for those who rank sessions in SQL.

It is version 1. Each time a session is judged again there is a row with the next version, who asked for it
and why; the highest version stands. `findings` is the same for reports with the same findings.
"""

review_events = sa.Table(
    "review_events",
    metadata,
    sa.Column("session_id", _session_id, sa.ForeignKey("exam_sessions.session_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("reviewer", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("act", sa.String(16), nullable=False),
    sa.Column("look", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("findings", sa.String(64), nullable=False),
    sa.Column("finding", sa.String(32)),
    sa.Column("decision", sa.String(16)),
    sa.Column("reason", sa.String(64)),
    sa.Column("note", sa.Text),
    sa.Column("undoes", sa.Integer),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16)),
)
"""One row per act of a review, as in :class:`proctor.review.ReviewEvent`; rows are only ever added."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the secret, hexadecimal"),
    sa.Column("roles", sa.Text, nullable=False, comment="JSON array"),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.Column("last_used_ms", sa.BigInteger),
)
"""One row per API key ever made, as in :class:`proctor.access.keys.ApiKey`."""

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", sa.String(16), primary_key=True),
    sa.Column("secret", sa.String(64), nullable=False, comment="hexadecimal"),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)
"""What candidate tokens are signed with: the newest signs, and all verify."""

installation_secrets = sa.Table(
    "installation_secrets",
    metadata,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("secret", sa.String(64), nullable=False, comment="hexadecimal"),
)
"""What this installation keeps to itself: `pseudonyms` keys the pseudonyms of candidates in the trail."""

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("address", sa.String(KEY_CHARACTERS)),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("before", sa.Text, comment="JSON"),
    sa.Column("after", sa.Text, comment="JSON"),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    # Each serves one filter; but for the first, in the order that every listing is in.
    sa.Index(None, "at_ms"),
    sa.Index(None, "actor", "number"),
    sa.Index(None, "action", "number"),
    sa.Index(None, "subject", "number"),
)
"""One row per entry of the audit trail, as in :class:`proctor.chain.Entry`. Triggers refuse to change it.

They let the oldest go once an entry says so; see :mod:`proctor.storage.audit_cuts`.
"""

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Numbers that rise by themselves; SQLite gives them to this type only."""


def _of_session(*, primary_key: bool = False) -> sa.Column[str]:
    """Return the column of what goes with its session, whatever erases that."""
    session = sa.ForeignKey("exam_sessions.session_id", ondelete="CASCADE")
    return sa.Column("session_id", _session_id, session, nullable=False, primary_key=primary_key)


webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("webhook_id", sa.String(16), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.Text, nullable=False, comment="JSON array"),
    sa.Column("secret", sa.String(64), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("disabled_ms", sa.BigInteger),
    sa.Column("paused_until_ms", sa.BigInteger, nullable=False, server_default="0"),
)
"""One row per address that webhooks go to, as in :class:`proctor.storage.webhooks.Webhook`."""

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("number", _number, primary_key=True),
    sa.Column(
        "webhook_id",
        sa.String(16),
        sa.ForeignKey("webhooks.webhook_id", ondelete="CASCADE"),
        nullable=False,
    ),
    _of_session(),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("key", sa.String(KEY_CHARACTERS), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.Text, comment="JSON object"),
    sa.Column("state", sa.String(9), nullable=False, server_default="pending"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("claim", sa.String(32)),
    sa.Column("settled_ms", sa.BigInteger),
    sa.Column("status", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    # What is told twice, of one event to one address, is told once; and the cascade from webhooks.
    sa.Index(None, "webhook_id", "session_id", "event", "key", unique=True),
    sa.Index(None, "state", "due_ms"),
    sa.Index(None, "session_id"),
    sqlite_autoincrement=True,
)
"""The outbox: one row per event and address, as in :class:`proctor.storage.outbox.Delivery`.

Triggers on `exam_sessions`, `exam_analyses` and `review_events` add rows in the transaction they tell of.
"""

exam_milestones = sa.Table(
    "exam_milestones",
    metadata,
    _of_session(primary_key=True),
    sa.Column("source", sa.String(128), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, comment="JSON object"),
)
"""What happened around a session, as in :class:`proctor.storage.milestones.Milestone`. No rule sees it."""
