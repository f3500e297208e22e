"""The conversation with one QEMU: commands, and events as they come.

Source: QEMU's docs/interop/qmp-spec.txt. The wire is qemu.qmp's; here are our errors and our patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from qemu.qmp import ConnectError, EventListener, ExecInterruptedError, ExecuteError, QMPClient, QMPError, StateError

from guesthouse.model.errors import Conflict, Failed, TimedOut
from guesthouse.qemu.messages import Command

COMMAND_TIMEOUT_S = 30.0

# What it logs reaches us as exceptions; a QEMU that ends is no error to it nor to us.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Refused(Failed):
    """QEMU understood a command and did not do it."""


class Gone(Conflict):
    """The conversation is over: the process has ended, or is about to."""

    def __init__(self, said: str = "") -> None:
        super().__init__("QEMU no longer answers" + (f": {said}" if said else ""))


class Monitor:
    """A QMP connection; `greeting` is what QEMU said first."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client
        self._passing = asyncio.Lock()

    @property
    def greeting(self) -> dict[str, Any]:
        greeting = self._client.greeting
        assert greeting is not None
        return {"version": greeting.QMP.version}

    async def execute(self, command: Command, timeout_s: float = COMMAND_TIMEOUT_S) -> Any:
        """The reply to a command; raises `Refused`, `Gone`, or `TimedOut` when QEMU hangs."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.execute(command.name, command.arguments or None)
        except ExecuteError as error:
            raise Refused(f"QEMU refused {command.name}: {error}") from error
        except (ExecInterruptedError, StateError) as error:
            raise Gone from error
        except TimeoutError as error:
            raise TimedOut(f"QEMU did not answer {command.name} within {timeout_s:g} s") from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Every event as it comes; to be read all the time, for they are kept until then."""
        async for event in self._client.events:
            yield dict(event)

    async def give(self, descriptor: int, name: str) -> None:
        """Hand QEMU a descriptor, to be used under a name."""
        await self._pass(descriptor, Command("getfd", {"fdname": name}))

    async def lend(self, descriptor: int) -> int:
        """Hand QEMU a descriptor that it opens like a file; the number of the set in which it is."""
        reply = await self._pass(descriptor, Command("add-fd"))
        return int(reply["fdset-id"])

    async def _pass(self, descriptor: int, command: Command) -> Any:
        # One at a time: QEMU keeps the descriptor that came last, and would take it for another's.
        async with self._passing:
            self._client.send_fd_scm(descriptor)
            return await self.execute(command)

    @contextlib.contextmanager
    def listen(self, *names: str) -> Iterator[Callable[[], Any]]:
        """Catch events of these names from now on; yields what waits for the next one."""
        listener: EventListener
        with self._client.listener(names) as listener:
            yield listener.get

    async def close(self) -> None:
        """End the conversation, whatever state it is in."""
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()


async def connect(connection: socket.socket, timeout_s: float) -> Monitor:
    """Greet the QEMU at the other end; raises `Gone` when it hangs up, `TimedOut` when it says nothing."""
    client = QMPClient()
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(connection)
    except ConnectError as error:
        connection.close()
        raise Gone(str(error.exc)) from error
    except TimeoutError as error:
        connection.close()
        raise TimedOut(f"QEMU did not greet within {timeout_s:g} s") from error
    return Monitor(client)
