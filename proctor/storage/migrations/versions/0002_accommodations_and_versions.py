"""What candidates were granted, and every version of a session's report."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and let versions tell the reports on a session apart."""
    op.add_column(
        "exam_sessions",
        sa.Column("accommodations", sa.Text, nullable=False, server_default="[]", comment="JSON array"),
    )
    # SQLite cannot change a primary key, so there the table is copied.
    with op.batch_alter_table("exam_analyses") as table:
        table.add_column(sa.Column("version", sa.Integer, nullable=False, server_default="1"))
        table.add_column(sa.Column("requested_by", sa.String(512)))
        table.add_column(sa.Column("reason", sa.Text))
        table.drop_constraint("pk_exam_analyses", type_="primary")
        table.create_primary_key("pk_exam_analyses", ["session_id", "version"])
