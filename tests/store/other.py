"""Another process with a store of its own: ``python -m tests.store.other ACTION URL``.

It tells a line on standard output for everything that it did, and the error in which it ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def other(action: str, url: str, *wrapper: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Such a process while the block runs; `wrapper` is what it is started by."""
    process = await asyncio.create_subprocess_exec(
        *wrapper,
        *(sys.executable, "-m", "tests.store.other", action, url),
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> str:
    """Its next line."""
    assert process.stdout
    return (await process.stdout.readline()).decode().strip()


def say(*words: object) -> None:
    print(*words, flush=True)


def memory_mib() -> float:
    """What this process has in memory (proc(5), VmRSS)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def weigh(url: str) -> None:
    """Open, read, and tell what that took in memory, and whether Alembic was imported."""
    await asyncio.sleep(0)
    before = memory_mib()
    from guesthouse.store import open_store

    async with open_store(url) as store, store.read() as transaction:
        await transaction.machines.scan()
        say(f"{memory_mib() - before:.1f}", "alembic" in sys.modules)


async def hold(url: str) -> None:
    """Be in the middle of a write until something comes in; then end it."""
    from tests.store import making

    from guesthouse.store import open_store

    async with open_store(url) as store, store.write() as transaction:
        home = await transaction.projects.insert(making.project())
        await transaction.machines.insert(making.machine(home.id, "web"))
        await transaction.events.append(making.event(home.id, "web"))
        say("held")
        await asyncio.to_thread(sys.stdin.readline)


async def fill(url: str) -> None:
    """Write without end, in each transaction a project, and its machine, and an event; tell each that is kept."""
    from tests.store import making

    from guesthouse.model.machine import MachineSpec
    from guesthouse.store import open_store

    async with open_store(url) as store:
        for number in count(1):
            async with store.write() as transaction:
                home = await transaction.projects.insert(making.project(number=number, name=f"p{number}"))
                machine = making.machine(home.id, "web", spec=MachineSpec(name="web", user_data="x" * 5000))
                await transaction.machines.insert(machine)
                await transaction.events.append(making.event(home.id, "web"))
            say(number)


async def main(action: str, url: str) -> None:
    actions = {"weigh": weigh, "hold": hold, "fill": fill}
    try:
        await actions[action](url)
    except Exception as error:
        say(type(error).__name__, error)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
