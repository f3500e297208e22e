"""Snapshots, the layers of disks, and what a machine goes on from."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXTS = "id project machine name parent state description power spec disks"
_TRUTHS = "memory quiesced"
_NUMBERS = "pause_ms memory_bytes"
# The default is for the rows that are there: machines that stand on no snapshot, disks of one layer.
_COLUMNS: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "machines": (("snapshot", sa.Text(), ""), ("restore", sa.Text(), ""), ("restore_epoch", sa.BigInteger(), "0")),
    "disks": (("layer", sa.Text(), ""), ("layers", sa.Text(), "{}")),
}


def upgrade() -> None:
    """Make the table and the columns."""
    op.create_table(
        "snapshots",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS.split()),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in _TRUTHS.split()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS.split()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_snapshots"),
        sa.UniqueConstraint("id", name="uq_snapshots_id"),
        sa.UniqueConstraint("machine", "name", name="uq_snapshots_machine_name"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_snapshots_project", ondelete="RESTRICT"),
    )
    for table, columns in _COLUMNS.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
        # SQLite can only drop a default by copying the table.
        with op.batch_alter_table(table) as changed:
            for name, _, _ in columns:
                changed.alter_column(name, server_default=None)
