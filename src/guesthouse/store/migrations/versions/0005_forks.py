"""Where a fork of a machine comes from, the layers that disks share, and snapshots that only forks need."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# The default is for the rows that are there: no machine was forked from another.
_COLUMNS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    "machines": (("origin", sa.Text(), ""), ("configured_as", sa.Text(), "")),
    "disks": (("origin", sa.Text(), ""), ("shared", sa.Text(), "[]")),
    "snapshots": (("passing", sa.Boolean(), sa.false()),),
}


def upgrade() -> None:
    """Make the columns."""
    for table, columns in _COLUMNS.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
        # SQLite can only drop a default by copying the table.
        with op.batch_alter_table(table) as changed:
            for name, _, _ in columns:
                changed.alter_column(name, server_default=None)
