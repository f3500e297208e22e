"""The tables, derived from the records: one row of `Noun` each, plus what a struct cannot say.

Rules
-----
1. A field of a record is a column of the same name: `str`, `bool`, `int`, `float` and `StrEnum` are scalars;
   anything else is a JSON document in a text column. A column is nullable where its scalar may be None.
2. `seq` is the table's own: records lie and come in the order in which they were added.
3. What a struct cannot say stands in the noun's row: unique columns, indexes, foreign keys.
4. A project that still has anything but tokens, keys, tags and what doors keep cannot go; those go with it.
   Operations and events are history and outlive what they tell of, so they refer to nothing.
5. The time is the database's, in seconds since the epoch (`epoch_now`), never this process's.
6. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from guesthouse.model.dialect import AccessKey, DoorRecord, Tag
from guesthouse.model.hosts import HostRecord
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.network import Elastic, Group, Network, Pool, Port, Subnet
from guesthouse.model.resources import (
    Disk,
    Event,
    Image,
    Key,
    Operation,
    OperationRow,
    Project,
    Share,
    Snapshot,
    SnapshotRow,
    Template,
    TemplateRow,
    Token,
)

Record = TypeVar("Record", bound=msgspec.Struct)
Row = TypeVar("Row", bound=msgspec.Struct)

METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is called INTEGER.
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# bool is an int to Python: it comes first.
_COLUMN_TYPES: tuple[tuple[type, Any], ...] = (
    (bool, sa.Boolean()),
    (int, sa.BigInteger()),
    (float, sa.Double()),
    (str, sa.Text()),
)


def scalar_type(annotation: Any) -> Any:
    """The column type of a scalar field, None where the field is a document."""
    members = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    (wanted, *others) = (member for member in members if member is not types.NoneType)
    if others or not isinstance(wanted, type):
        return None
    return next((column for python, column in _COLUMN_TYPES if issubclass(wanted, python)), None)


def _column(field: msgspec.structs.FieldInfo) -> sa.Column[Any]:
    scalar = scalar_type(field.type)
    nullable = scalar is not None and types.NoneType in get_args(field.type)
    return sa.Column(field.name, sa.Text() if scalar is None else scalar, nullable=nullable)


@dataclass(frozen=True, eq=False)
class Noun(Generic[Record, Row]):
    """A kind of record: its word in messages, whole struct, listed struct, and table.

    `unique` are the sets of columns whose values one record alone may have; the last column of a set is the
    one that a person can change.
    """

    word: str
    record: type[Record]
    row: type[Row]
    table: sa.Table
    unique: tuple[tuple[str, ...], ...]


def _noun(
    word: str,
    record: type[Record],
    row: type[Row],
    *extras: sa.schema.SchemaItem,
    unique: tuple[tuple[str, ...], ...] = (("project", "name"),),
) -> Noun[Record, Row]:
    unique = (("id",), *unique)
    table = sa.Table(
        f"{word}s",
        METADATA,
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        *(_column(field) for field in msgspec.structs.fields(record)),
        *(sa.UniqueConstraint(*columns) for columns in unique),
        *extras,
    )
    return Noun(word, record, row, table, unique)


# Machines that are to run and have not been seen to. A fork begins with memory that others have, too.
PROMISED = "power = 'running' AND state NOT IN ('running', 'paused') AND template = '' AND origin = ''"


def _of_project(when_it_goes: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project"], ["projects.id"], ondelete=when_it_goes)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


HOSTS = _noun("host", HostRecord, HostRecord, unique=(("name",),))
PROJECTS = _noun(
    "project",
    Project,
    Project,
    # Two tenants with one number would share a group; 0 is a project that has none.
    sa.Index("uq_projects_number", "number", unique=True, **_where("number > 0")),
    unique=(("name",),),
)
TOKENS = _noun("token", Token, Token, _of_project("CASCADE"), unique=(("project", "name"), ("digest",)))
KEYS = _noun("key", Key, Key, _of_project("CASCADE"))
IMAGES = _noun("image", Image, Image, _of_project("RESTRICT"))
SHARES = _noun("share", Share, Share, _of_project("CASCADE"), sa.Index(None, "image"), unique=(("image", "project"),))
TEMPLATES = _noun("template", Template, TemplateRow, _of_project("RESTRICT"), sa.Index(None, "image"))
DISKS = _noun("disk", Disk, Disk, _of_project("RESTRICT"), sa.Index(None, "machine"))
MACHINES = _noun(
    "machine",
    Machine,
    MachineRow,
    _of_project("RESTRICT"),
    sa.Index(None, "host"),
    sa.Index("ix_machines_promised", "host", "memory_mib", **_where(PROMISED)),
)
SNAPSHOTS = _noun("snapshot", Snapshot, SnapshotRow, _of_project("RESTRICT"), unique=(("machine", "name"),))
NETWORKS = _noun("network", Network, Network, _of_project("RESTRICT"), unique=(("project", "name"), ("number",)))
SUBNETS = _noun("subnet", Subnet, Subnet, _of_project("RESTRICT"), unique=(("network", "number"), ("network", "name")))
# On a shared network each project has groups of its own.
GROUPS = _noun("group", Group, Group, _of_project("RESTRICT"), unique=(("network", "project", "name"),))
PORTS = _noun(
    "port",
    Port,
    Port,
    _of_project("RESTRICT"),
    sa.Index(None, "machine"),
    # On networks whose addresses somebody else gives there are none.
    sa.Index("uq_ports_network_address", "network", "address", unique=True, **_where("address != ''")),
    unique=(("network", "number"), ("mac",)),
)
ELASTICS = _noun(
    "elastic",
    Elastic,
    Elastic,
    _of_project("RESTRICT"),
    sa.Index("uq_elastics_port", "port", unique=True, **_where("port != ''")),
    unique=(("address",),),
)
POOLS = _noun("pool", Pool, Pool, unique=(("cidr",),))
ACCESS_KEYS = _noun("access_key", AccessKey, AccessKey, _of_project("CASCADE"), unique=(("name",),))
DOOR_RECORDS = _noun(
    "door_record",
    DoorRecord,
    DoorRecord,
    _of_project("CASCADE"),
    sa.Index(None, "subject"),
    unique=(("project", "door", "kind", "name"),),
)
TAGS = _noun("tag", Tag, Tag, _of_project("CASCADE"), sa.Index(None, "project"), unique=(("subject", "name"),))
OPERATIONS = _noun(
    "operation",
    Operation,
    OperationRow,
    sa.Index(None, "subject"),
    sa.Index("ix_operations_unended", "host", **_where("ended_at = 0.0")),
    unique=(),
)

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    *(_column(field) for field in msgspec.structs.fields(Event) if field.name != "number"),
    sa.Index(None, "project"),
    sqlite_autoincrement=True,  # a number is never given twice, whatever was pruned
)

# One row: how many commits have written records.
COMMITS = sa.Table(
    "commits",
    METADATA,
    sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger(), nullable=False),
)

# Columns in the condition of a partial index: a filter on them is written into the statement, since a
# database takes such an index only where it sees the value.
LITERAL = frozenset({"ended_at"})


class epoch_now(FunctionElement[float]):
    """The database's clock: seconds since the epoch. Transactions do not stop it, so later rows are not older."""

    type = sa.Double()
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _sqlite_now(element: epoch_now, compiler: Any, **options: Any) -> str:
    # Before SQLite 3.42 unixepoch() knows no fractions; a Julian day does, to the millisecond.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql_now(element: epoch_now, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
