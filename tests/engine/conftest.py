"""A store for each test of the engine: SQLite and PostgreSQL are one code path, and both are run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from guesthouse.store import SqlStore, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    if request.param == "sqlite":
        async with open_store(f"sqlite:///{tmp_path / 'house.db'}", lock_timeout_s=PATIENCE_S) as opened:
            yield opened
        return
    server = request.getfixturevalue("postgres")
    async with server.database() as name, open_store(server.url(name), lock_timeout_s=PATIENCE_S) as opened:
        yield opened
