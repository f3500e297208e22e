"""A store on each of the two databases: every test that asks for `url` or `store` runs on both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from guesthouse.store import SqlStore, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'house.db'}"
        return
    server = request.getfixturevalue("postgres")
    async with server.database() as name:
        yield server.url(name)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on it."""
    async with open_store(url, lock_timeout_s=PATIENCE_S) as store:
        yield store
