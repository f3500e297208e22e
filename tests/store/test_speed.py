"""Lists read what they show, by an index, and quickly."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.patience import PATIENCE_S
from tests.store import making

from guesthouse.model.machine import MachineRow, MachineSpec
from guesthouse.store import SqlStore, straight
from guesthouse.store.databases import locate


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All SQL that is run while the test runs."""
    seen: list[tuple[str, Any]] = []
    run = straight.run

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    def note_straight(driver: Any, sql: str, parameters: tuple[Any, ...]) -> Any:
        seen.append((sql, parameters))
        return run(driver, sql, parameters)

    monkeypatch.setattr(straight, "run", note_straight)
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def explain(url: str, statement: str, parameters: Any) -> str:
    """How the database would find the rows, were the table large; their order would hide it in a small one."""
    statement = statement.partition(" ORDER BY")[0]
    engine = locate(url).starter()
    try:
        async with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            else:
                await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
                plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            return "\n".join(str(row[-1]) for row in plan)
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    ("noun", "equal", "index"),
    [
        ("machines", {"id": "x"}, r"uq_machines_id|sqlite_autoindex_machines_"),
        ("machines", {"project": "p", "name": "web"}, r"uq_machines_project_name|sqlite_autoindex_machines_"),
        ("machines", {"host": "here"}, "ix_machines_host"),
        ("tokens", {"digest": "x"}, r"uq_tokens_digest|sqlite_autoindex_tokens_"),
        ("disks", {"machine": "x"}, "ix_disks_machine"),
        ("operations", {"subject": "x"}, "ix_operations_subject"),
        ("operations", {"ended_at": 0.0, "host": "here"}, "ix_operations_unended"),
    ],
)
async def test_what_is_looked_for_is_found_by_an_index(
    url: str, store: SqlStore, statements: list[tuple[str, Any]], noun: str, equal: dict[str, object], index: str
) -> None:
    async with store.read() as transaction:
        await getattr(transaction, noun).scan(**equal)
    (found,) = [(statement, values) for statement, values in statements if f"FROM {noun}" in statement]
    assert re.search(f"(?i)using .*({index})|scan on .*({index})", await explain(url, *found))


async def test_a_list_reads_no_document(store: SqlStore, statements: list[tuple[str, Any]]) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        await transaction.machines.insert(making.full_machine(home.id))
    statements.clear()
    async with store.read() as transaction:
        (row,) = await transaction.machines.scan(project=home.id)
    assert type(row) is MachineRow
    (statement,) = [statement for statement, _ in statements if "FROM machines" in statement]
    assert not re.search(r"\b(spec|status)\b", statement)


async def cpu_ms(work: Callable[[], Any]) -> float:
    """The least time on the processor of ten runs, all threads counted: what else runs here does not matter."""
    times = []
    for _ in range(10):
        begun = time.process_time()
        await work()
        times.append((time.process_time() - begun) * 1000)
    return min(times)


async def test_a_thousand_machines_cost_little_more_than_the_driver_takes_for_them(
    url: str, store: SqlStore, statements: list[tuple[str, Any]]
) -> None:
    """Both are measured here: how fast this box is does not matter, nor how busy."""
    home = await making.fill(store)
    async with store.write() as transaction:
        for number in range(1000):
            spec = MachineSpec(name="web", user_data="x" * 2000)
            await transaction.machines.insert(making.machine(home.id, f"m{number}", spec=spec))

    async def scan() -> None:
        async with store.read() as transaction:
            assert len(await transaction.machines.scan(project=home.id)) == 1000

    async def find() -> None:
        async with store.read() as transaction:
            assert len(await transaction.machines.scan(project=home.id, name="m567")) == 1

    statements.clear()
    list_ms = await cpu_ms(scan)
    (statement, parameters) = next(each for each in statements if "FROM machines" in each[0])
    engine = locate(url).reader()

    async def bare() -> None:
        async with engine.connect() as connection:
            assert len((await connection.exec_driver_sql(statement, parameters)).all()) == 1000

    try:
        assert list_ms <= 10 * await cpu_ms(bare)
    finally:
        await engine.dispose()
    assert await cpu_ms(find) <= list_ms / 2
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(find() for _ in range(50)))
