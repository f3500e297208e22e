"""When a spot machine is interrupted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Nobody is interrupted."""
    op.add_column("machines", sa.Column("interrupted_at", sa.Double(), nullable=False, server_default="0"))
    with op.batch_alter_table("machines") as changed:  # SQLite can only drop a default by copying the table
        changed.alter_column("interrupted_at", server_default=None)
