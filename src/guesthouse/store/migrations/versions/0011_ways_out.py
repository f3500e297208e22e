"""Blocks of private networks, ways out of their subnets, ports that stay, addresses that are lent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_COLUMNS: tuple[tuple[str, str, Any, Any], ...] = (
    ("networks", "cidr", sa.Text(), ""),
    ("subnets", "outlet", sa.Text(), "all"),
    ("subnets", "gate", sa.Text(), ""),
    ("ports", "stays", sa.Boolean(), sa.false()),
    ("elastics", "lent", sa.Boolean(), sa.false()),
)


def upgrade() -> None:
    """Give what there is what it is by itself."""
    for table, name, kind, default in _COLUMNS:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
        with op.batch_alter_table(table) as changed:  # SQLite can only drop a default by copying the table
            changed.alter_column(name, server_default=None)
