"""Templates, and who was forked from one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXTS = "id project name image state spec"
_NUMBERS = "vcpus memory_mib boot_ms memory_bytes state_bytes"


def upgrade() -> None:
    """Make the table, and a column for machines and disks; those that are there were not forked."""
    op.create_table(
        "templates",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS.split()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS.split()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_templates"),
        sa.UniqueConstraint("id", name="uq_templates_id"),
        sa.UniqueConstraint("project", "name", name="uq_templates_project_name"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_templates_project", ondelete="RESTRICT"),
    )
    op.create_index("ix_templates_image", "templates", ["image"])
    for table in ("machines", "disks"):
        op.add_column(table, sa.Column("template", sa.Text(), nullable=False, server_default=""))
        # The default was for the rows that are there. SQLite can only drop it by copying the table.
        with op.batch_alter_table(table) as changed:
            changed.alter_column("template", server_default=None)
