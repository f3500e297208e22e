"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    _records("projects", "id name quota", numbers="number", unique=("name",))
    _index("uq_projects_number", "projects", "number", where="number > 0", unique=True)
    _records("tokens", "id project name role digest", truths="house", unique=("project name", "digest"), goes="CASCADE")
    _records("keys", "id project name public fingerprint", unique=("project name",), goes="CASCADE")
    _records(
        "images",
        "id project name family version state os architecture format digest source disk kernel initrd cmdline user",
        numbers="virtual_mib file_bytes",
        truths="public",
        unique=("project name",),
        goes="RESTRICT",
    )
    _records(
        "disks",
        "id project name format state image machine host",
        numbers="size_mib",
        truths="thin",
        unique=("project name",),
        goes="RESTRICT",
    )
    _index("ix_disks_machine", "disks", "machine")
    _records(
        "machines",
        "id project name host image power deleting state stage spec status",
        numbers="vcpus memory_mib nics generation restart_epoch stop_timeout_s observed_generation ssh_port",
        truths="autostart",
        unique=("project name",),
        goes="RESTRICT",
    )
    _index("ix_machines_host", "machines", "host")
    _records(
        "operations",
        "id project kind subject_kind subject subject_name host state step phase context error result",
        sa.Column("percent", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=False),
        numbers="generation epoch",
        truths="cancel_requested",
    )
    _index("ix_operations_subject", "operations", "subject")
    _index("ix_operations_unended", "operations", "host", where="ended_at = 0.0")
    op.create_table(
        "events",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        *_columns("project kind subject_kind subject subject_name data", sa.Text()),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_events"),
        sqlite_autoincrement=True,
    )
    _index("ix_events_project", "events", "project")


def _records(
    table: str,
    texts: str,
    *more: sa.Column[float],
    numbers: str = "",
    truths: str = "",
    unique: tuple[str, ...] = (),
    goes: str = "",
) -> None:
    """Make a table of records; `goes` is what becomes of them when their project goes."""
    project = sa.ForeignKeyConstraint(["project"], ["projects.id"], name=f"fk_{table}_project", ondelete=goes)
    op.create_table(
        table,
        sa.Column("seq", _NUMBER, autoincrement=True, nullable=False),
        *_columns(texts, sa.Text()),
        *_columns(numbers, sa.BigInteger()),
        *_columns(truths, sa.Boolean()),
        *more,
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
        *(
            sa.UniqueConstraint(*names.split(), name=f"uq_{table}_{names.replace(' ', '_')}")
            for names in ("id", *unique)
        ),
        *([project] if goes else []),
    )


def _columns(names: str, kind: sa.types.TypeEngine[Any]) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def _index(name: str, table: str, column: str, *, where: str = "", unique: bool = False) -> None:
    condition: dict[str, Any] = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)} if where else {}
    op.create_index(name, table, [column], unique=unique, **condition)
