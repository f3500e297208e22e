"""`guest house upgrade`: a real daemon on SQLite goes on with PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator

import pytest
from tests.cli.conftest import MAIN
from tests.cli.test_serve import serve, stop
from tests.host.boxes import a_house
from tests.patience import PATIENCE_S
from tests.postgres import Server

from guesthouse.model.house import House


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[str]:
    async with postgres.database() as name:
        yield postgres.url(name)


def guest(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*MAIN, *words),
        env={**os.environ, "GUESTHOUSE_HOME": str(house.home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


async def test_a_house_goes_on_in_its_new_database(database: str) -> None:
    with a_house() as house:
        assert serve(house).returncode == 0
        assert guest(house, "project", "create", "shop").returncode == 0
        early = guest(house, "house", "upgrade", "--to", database)
        assert (early.returncode, "has a daemon already" in early.stderr) == (4, True)
        stop(house)

        moved = guest(house, "house", "upgrade", "--to", database)
        assert moved.returncode == 0, moved.stderr
        assert "2 projects" in moved.stderr
        assert moved.stdout.startswith("moved ")
        assert house.settings.stat().st_mode & 0o777 == 0o600
        assert not house.database.exists()

        again = guest(house, "house", "upgrade", "--to", database)
        assert (again.returncode, "is not embedded any more" in again.stderr) == (4, True)
        assert serve(house).returncode == 0
        try:
            names = [each["name"] for each in json.loads(guest(house, "project", "list", "--json").stdout)["items"]]
            assert names == ["default", "shop"]
        finally:
            stop(house)
