"""Alembic, driven by the store."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(connection: sa.Connection, folder: Path) -> None:
    """Bring the tables to the newest version in `folder`, in the connection's transaction."""
    config = Config()
    # Alembic expands "%": a path may have one.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
