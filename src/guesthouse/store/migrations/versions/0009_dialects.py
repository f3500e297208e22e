"""What doors keep: access keys, records of their dialects, tags; SSH keys that are given on request alone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COLUMNS = {
    "access_keys": "id project name role",
    "door_records": "id project door kind name subject document gone_at",
    "tags": "id project subject name text",
}
_UNIQUE = {
    "access_keys": ("id", "name"),
    "door_records": ("id", "project door kind name"),
    "tags": ("id", "subject name"),
}


def upgrade() -> None:
    """Make the tables."""
    for table, columns in _COLUMNS.items():
        kinds: dict[str, Any] = {"gone_at": sa.Double()}
        op.create_table(
            table,
            sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
            *(sa.Column(name, kinds.get(name, sa.Text()), nullable=False) for name in columns.split()),
            sa.Column("created_at", sa.Double(), nullable=False),
            sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
            *(
                sa.UniqueConstraint(*unique.split(), name=f"uq_{table}_{unique.replace(' ', '_')}")
                for unique in _UNIQUE[table]
            ),
            sa.ForeignKeyConstraint(["project"], ["projects.id"], name=f"fk_{table}_project", ondelete="CASCADE"),
        )
    op.create_index("ix_door_records_subject", "door_records", ["subject"])
    op.create_index("ix_tags_project", "tags", ["project"])
    op.add_column("keys", sa.Column("on_request", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("keys") as changed:  # SQLite can only drop a default by copying the table
        changed.alter_column("on_request", server_default=None)
