"""A machine's serial console: one connection to QEMU, any number of people looking at it.

Rules
-----
1. QEMU takes one client. The daemon is that client while somebody looks, and hangs up with the last of them.
2. Everybody sees the same bytes. Who does not read fast enough loses the oldest of them; neither the guest nor
   the others wait for him.
3. What was written while nobody looked is in the log, which QEMU keeps over restarts of machine and daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from guesthouse.host.machines.folder import Folder
from guesthouse.model.errors import Conflict
from guesthouse.ports import Console

_KEPT_BYTES = 1 << 20
_PIECE_BYTES = 64 * 1024


class _Viewer:
    """One who looks: implements `ports.Console`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._over = False

    async def receive(self) -> bytes:
        while not self._pieces and not self._over:
            self._more.clear()
            await self._more.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return data

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise Conflict("the machine's console is gone: it no longer runs") from error

    def show(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        while self._size > _KEPT_BYTES:
            self._size -= len(self._pieces.popleft())
        self._more.set()

    def end(self) -> None:
        self._over = True
        self._more.set()


class _Hub:
    """The connection to one console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.viewers: set[_Viewer] = set()
        self.over = False

    async def pump(self) -> None:
        """Show everybody what comes, until QEMU hangs up."""
        try:
            while data := await self._reader.read(_PIECE_BYTES):
                for viewer in self.viewers:
                    viewer.show(data)
        except ConnectionError:
            pass
        finally:
            self.over = True
            for viewer in self.viewers:
                viewer.end()
            self.writer.close()


class Consoles:
    """The consoles that somebody looks at; their pumps are tasks of `tasks`."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._connecting = asyncio.Lock()
        self._hubs: dict[str, tuple[_Hub, asyncio.Task[None]]] = {}

    @contextlib.asynccontextmanager
    async def open(self, folder: Folder) -> AsyncIterator[Console]:
        """Look at a console; raises `Conflict` when the machine does not run."""
        async with self._connecting:
            hub = await self._hub(folder)
        viewer = _Viewer(hub.writer)
        hub.viewers.add(viewer)
        try:
            yield viewer
        finally:
            hub.viewers.discard(viewer)
            if not hub.viewers:
                self._close(folder.machine, hub)

    async def _hub(self, folder: Folder) -> _Hub:
        known = self._hubs.get(folder.machine)
        if known is not None and not known[0].over:
            return known[0]
        try:
            connection = folder.connect("console")
        except OSError as error:
            raise Conflict(
                "the machine has no console now: it does not run",
                subject=f"machine {folder.machine}",
                hint="start it, or look at `guest logs`",
            ) from error
        hub = _Hub(*await asyncio.open_unix_connection(sock=connection))
        self._hubs[folder.machine] = hub, self._tasks.create_task(hub.pump())
        return hub

    def close(self) -> None:
        """End all consoles for all who look at them."""
        for machine, (hub, _) in list(self._hubs.items()):
            self._close(machine, hub)

    def _close(self, machine: str, hub: _Hub) -> None:
        known = self._hubs.get(machine)
        if known is not None and known[0] is hub:
            known[1].cancel()
            hub.writer.close()
            del self._hubs[machine]
