"""Sessions, and the final report of each."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_session_id = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "exam_sessions",
        sa.Column("session_id", _session_id, nullable=False),
        sa.Column("candidate_id", sa.String(512)),
        sa.Column("exam_id", sa.String(512)),
        sa.Column("policy", sa.String(512), nullable=False),
        sa.Column("metadata", sa.Text, nullable=False, comment="JSON object"),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("dumped", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_exam_sessions"),
        sa.CheckConstraint("status IN ('active', 'ending', 'ended')", name="ck_exam_sessions_status"),
    )
    for name, columns in {
        "ix_exam_sessions_started_ms": ["started_ms", "session_id"],
        "ix_exam_sessions_status": ["status", "started_ms", "session_id"],
        "ix_exam_sessions_exam_id": ["exam_id", "started_ms", "session_id"],
        "ix_exam_sessions_candidate_id": ["candidate_id", "started_ms", "session_id"],
    }.items():
        op.create_index(name, "exam_sessions", columns)
    op.create_table(
        "exam_analyses",
        sa.Column("session_id", _session_id, nullable=False),
        sa.Column("report", sa.Text, nullable=False, comment="the report's JSON, byte for byte"),
        sa.Column("policy", sa.String(512), nullable=False),
        sa.Column("analysed_ms", sa.BigInteger, nullable=False),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("review_priority", sa.String(16), nullable=False),
        sa.Column("is_cheating", sa.Boolean, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("confidence_level", sa.String(16), nullable=False),
        sa.Column("verdict_basis", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_exam_analyses"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["exam_sessions.session_id"], name="fk_exam_analyses_session_id"
        ),
    )
    op.create_index("ix_exam_analyses_review_priority", "exam_analyses", ["review_priority", "score"])
