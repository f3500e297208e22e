"""By whom templates were frozen, and for whom they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; of those that are there nobody knows who froze them, so that they are made anew."""
    op.add_column("templates", sa.Column("public", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("templates", sa.Column("frozen_by", sa.Text(), nullable=False, server_default=""))
    # The defaults were for the rows that are there. SQLite can only drop one by copying the table.
    with op.batch_alter_table("templates") as changed:
        changed.alter_column("public", server_default=None)
        changed.alter_column("frozen_by", server_default=None)
