"""Images that are data, and images that other projects may use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; images that there are have systems."""
    op.create_table(
        "shares",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "project", "image")),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_shares"),
        sa.UniqueConstraint("id", name="uq_shares_id"),
        sa.UniqueConstraint("image", "project", name="uq_shares_image_project"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_shares_project", ondelete="CASCADE"),
    )
    op.create_index("ix_shares_image", "shares", ["image"])
    op.add_column("images", sa.Column("data", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("images") as changed:  # SQLite can only drop a default by copying the table
        changed.alter_column("data", server_default=None)
