"""Which thread runs what on SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from guesthouse.model.errors import Conflict
from guesthouse.model.resources import Key
from guesthouse.store import open_store
from guesthouse.store.databases import Place, locate
from guesthouse.store.in_place import InPlace


async def threads_of(place: Place, statement: str) -> dict[str, bool]:
    """For the statements of a write transaction with this one: whether the loop's own thread ran it."""
    here, seen = threading.get_ident(), dict[str, bool]()

    def note(run: str) -> None:
        seen[run] = threading.get_ident() == here

    engine = place.writer()
    try:
        async with engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            raw._conn.set_trace_callback(note)
            async with connection.begin():
                await connection.execute(sa.text(statement))
            raw._conn.set_trace_callback(None)
    finally:
        await engine.dispose()
    return seen


async def test_statements_run_in_the_loop_and_what_may_wait_does_not(tmp_path: Path) -> None:
    place = locate(f"sqlite:///{tmp_path}/store.db")
    async with open_store(f"sqlite:///{tmp_path}/store.db"):
        pass
    for statement in ("SELECT 1", "UPDATE machines SET name = ''"):
        assert await threads_of(place, statement) == {"BEGIN IMMEDIATE": False, statement: True, "COMMIT": False}


async def test_what_changes_tables_runs_in_a_thread(tmp_path: Path) -> None:
    place = locate(f"sqlite:///{tmp_path}/store.db")
    place.create_file()
    seen = await threads_of(place, "CREATE TABLE notes (text)")
    assert seen["CREATE TABLE notes (text)"] is False


def test_a_loop_that_ends_before_the_thread_is_no_error_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    opening, go_on = threading.Event(), threading.Event()

    def open_slowly() -> sqlite3.Connection:
        opening.set()
        go_on.wait()
        return sqlite3.connect(":memory:", check_same_thread=False)

    connection = InPlace(open_slowly)

    async def break_off() -> None:
        task = asyncio.ensure_future(connection._connect())
        connection._thread.start()
        await asyncio.to_thread(opening.wait)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(break_off())
    go_on.set()
    connection._thread.join()
    assert failed == []


async def test_many_statements_leave_others_their_turn(tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with open_store(f"sqlite:///{tmp_path}/store.db") as store, store.read() as tx:
        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        before = turns
        for _ in range(1000):
            await tx.projects.get("nobody")
        counting.cancel()
        assert 10 < turns - before < 100


async def test_a_refused_statement_is_told_as_by_sqlalchemy(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        with pytest.raises(Conflict, match="the project is not there"):
            async with store.write() as tx:
                await tx.keys.insert(Key(id="k", project="nobody", name="k", public="k", fingerprint="k"))
