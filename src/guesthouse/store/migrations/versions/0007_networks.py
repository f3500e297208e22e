"""Networks, and what is on them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KINDS: dict[str, Any] = {"t": sa.Text(), "n": sa.BigInteger(), "b": sa.Boolean()}
# Each column with its kind: text or document, number, truth.
_TABLES = {
    "networks": "id:t project:t name:t mode:t number:n host:t shared:b link:t domain:t mtu:n ipv6:b state:t "
    "generation:n observed_generation:n",
    "subnets": "id:t project:t network:t name:t number:n cidr:t gateway:t first:t last:t cidr6:t gateway6:t",
    "groups": "id:t project:t network:t name:t description:t rules:t",
    "ports": "id:t project:t network:t subnet:t machine:t name:t mac:t number:n address:t address6:t groups:t "
    "guarded:b forwards:t",
    "elastics": "id:t project:t address:t network:t port:t",
}
_UNIQUE = {
    "networks": ("id", "project name", "number"),
    "subnets": ("id", "network number", "network name"),
    "groups": ("id", "network name"),
    "ports": ("id", "network number", "mac"),
    "elastics": ("id", "address"),
}


def upgrade() -> None:
    """Make the tables."""
    for table, columns in _TABLES.items():
        named = [column.split(":") for column in columns.split()]
        op.create_table(
            table,
            sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
            *(sa.Column(name, _KINDS[kind], nullable=False) for name, kind in named),
            sa.Column("created_at", sa.Double(), nullable=False),
            sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
            *(
                sa.UniqueConstraint(*unique.split(), name=f"uq_{table}_{unique.replace(' ', '_')}")
                for unique in _UNIQUE[table]
            ),
            sa.ForeignKeyConstraint(["project"], ["projects.id"], name=f"fk_{table}_project", ondelete="RESTRICT"),
        )
    op.add_column("machines", sa.Column("address", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("machines") as changed:  # SQLite can only drop a default by copying the table
        changed.alter_column("address", server_default=None)
    op.create_index("ix_ports_machine", "ports", ["machine"])
    for table, unique in (("ports", ("network", "address")), ("elastics", ("port",))):
        where, name = sa.text(f"{unique[-1]} != ''"), f"uq_{table}_{'_'.join(unique)}"
        op.create_index(name, table, list(unique), unique=True, sqlite_where=where, postgresql_where=where)
