"""Whether the memory of snapshots is to be settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; that of snapshots that are there is to be, too."""
    op.add_column("snapshots", sa.Column("settle", sa.Boolean(), nullable=False, server_default=sa.true()))
    # The default was for the rows that are there. SQLite can only drop one by copying the table.
    with op.batch_alter_table("snapshots") as changed:
        changed.alter_column("settle", server_default=None)
