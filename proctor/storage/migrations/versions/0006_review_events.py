"""What reviewers did, and what tells two reports on a session apart for them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_session_id = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table, and add the column."""
    op.create_table(
        "review_events",
        sa.Column("session_id", _session_id, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("reviewer", sa.String(512), nullable=False),
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
        sa.PrimaryKeyConstraint("session_id", "number", name="pk_review_events"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["exam_sessions.session_id"], name="fk_review_events_session_id"
        ),
    )
    # Of earlier reports it is not known: what was decided on one of them stands for its version alone.
    op.add_column("exam_analyses", sa.Column("findings", sa.String(64)))
