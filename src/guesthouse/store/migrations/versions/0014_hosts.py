"""Hosts, on which of them images and templates are, and machines that are kept apart."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXTS = ("id", "name", "zone", "region", "labels", "limits", "address", "seat", "instance", "boot_id", "version")
_NUMBERS = ("cpus", "memory_mib", "memory_free_mib", "disk_free_mib")
_PROMISED = "power = 'running' AND state NOT IN ('running', 'paused') AND template = '' AND origin = ''"


def upgrade() -> None:
    """Make the table; whatever there is was made on the host that founded the house."""
    op.create_table(
        "hosts",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("accelerator", "frozen_by")),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("seen_at", "created_at")),
        sa.PrimaryKeyConstraint("seq", name="pk_hosts"),
        sa.UniqueConstraint("id", name="uq_hosts_id"),
        sa.UniqueConstraint("name", name="uq_hosts_name"),
    )
    for table in ("images", "templates"):
        op.add_column(table, sa.Column("host", sa.Text(), nullable=False, server_default="local"))
        with op.batch_alter_table(table) as changed:  # SQLite can only drop a default by copying the table
            changed.alter_column("host", server_default=None)
    op.add_column("machines", sa.Column("apart", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("machines") as changed:
        changed.alter_column("apart", server_default=None)
    where: dict[str, Any] = {"sqlite_where": sa.text(_PROMISED), "postgresql_where": sa.text(_PROMISED)}
    op.create_index("ix_machines_promised", "machines", ["host", "memory_mib"], **where)
