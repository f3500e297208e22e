"""The inside of running machines, and ways into them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from guesthouse.formats.pictures import Picture
from guesthouse.model.network import Network


@dataclass(frozen=True)
class GuestCommand:
    """A program to run in the guest through its agent."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    environment: tuple[str, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True)
class GuestResult:
    """How it ended: exit status (128 + signal when killed by one) and both streams."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Console(Protocol):
    """An open console: bytes out, bytes in."""

    async def receive(self) -> bytes:
        """The next bytes; empty when the machine is gone."""

    async def send(self, data: bytes) -> None: ...


class Guests(Protocol):
    """The inside of running machines."""

    async def execute(self, machine: str, command: GuestCommand) -> GuestResult:
        """Run a program through the guest agent; raises `Conflict` where none answers."""

    def console(self, machine: str) -> AbstractAsyncContextManager[Console]:
        """Open the serial console; several may look at the same time."""

    async def log(self, machine: str, last_bytes: int, *, qemu: bool = False) -> bytes:
        """The end of what the machine wrote to its console, over restarts; with `qemu`, of QEMU's own words."""

    async def screenshot(self, machine: str) -> Picture:
        """What the machine's screen shows now."""


class Stream(Protocol):
    """A TCP connection to a machine. Each direction ends by itself."""

    async def receive(self) -> bytes:
        """The next bytes; empty when the machine has said all. Raises `Conflict` where the connection broke."""

    async def send(self, data: bytes) -> None:
        """Pass bytes on, and return when there is room for more; raises as `receive`."""

    async def end(self) -> None:
        """Tell the machine that nothing more comes."""


class Streams(Protocol):
    """Connections to machines, from where they are reached."""

    def connect(self, network: Network | None, address: str, port: int) -> AbstractAsyncContextManager[Stream]:
        """Connect to a TCP port from within a network, or from the host itself; it is closed with the block.

        Raises `Conflict` where nobody takes it, `TimedOut` where nobody answers.
        """


class GuestFiles(Protocol):
    """Files inside running machines, through the guest agent."""

    def read(self, machine: str, path: str) -> AsyncIterator[bytes]:
        """A file's bytes in pieces; raises `NotFound` where there is none."""

    async def write(self, machine: str, path: str, chunks: AsyncIterator[bytes], mode: int | None) -> None:
        """Write a file anew; `mode` are its permission bits, None keeps the guest's default."""
