"""Pools of elastic addresses; groups of several projects on one network."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and let two projects have groups of one name on a shared network."""
    op.create_table(
        "pools",
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cidr", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_pools"),
        sa.UniqueConstraint("id", name="uq_pools_id"),
        sa.UniqueConstraint("cidr", name="uq_pools_cidr"),
    )
    with op.batch_alter_table("groups") as groups:
        groups.drop_constraint("uq_groups_network_name", type_="unique")
        groups.create_unique_constraint("uq_groups_network_project_name", ["network", "project", "name"])
