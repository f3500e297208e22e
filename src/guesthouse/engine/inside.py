"""Reaching into a running machine: console, programs, files, and how to get in by SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import msgspec

from guesthouse.decide.lifecycle import shown_state
from guesthouse.engine.accept import check_role
from guesthouse.engine.intents import Asker
from guesthouse.engine.progress import Changes
from guesthouse.engine.resolve import find
from guesthouse.engine.ways import SSH, Way, way_to
from guesthouse.formats.pictures import Picture
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine, Power
from guesthouse.model.resources import Image, Role
from guesthouse.ports import (
    Console,
    GuestCommand,
    GuestFiles,
    GuestResult,
    Guests,
    HouseKeys,
    NetworkFacts,
    Store,
    Stream,
    Streams,
)

_LOOK_AGAIN_S = 60.0


class SshAccess(msgspec.Struct, frozen=True):
    """How to log in: where, as whom, with which key, and the line by which the machine is known.

    With `tunnel` only a stream of the house leads there: `host` is then the machine's name, for it to be known by.
    `identity_file` is empty for askers from afar: the house's private keys stay in the house.
    """

    host: str
    port: int
    user: str
    identity_file: str
    known_hosts: str
    tunnel: bool = False


@dataclass(frozen=True)
class Led:
    """A connection to a port of a machine, for as long as the machine has the place that it leads to."""

    stream: Stream
    machine: str
    way: Way
    store: Store
    changes: Changes

    async def until_gone(self) -> None:
        """Return when the machine has stopped, or is there no more."""
        with self.changes.listen(self.machine) as changes:
            while await self._is_there():
                await changes.wait(_LOOK_AGAIN_S)

    async def _is_there(self) -> bool:
        async with self.store.read() as tx:
            machine = await tx.machines.get(self.machine)
            if machine is None or not _runs(machine):
                return False
            return not self.way.place or await tx.ports.get(self.way.place) is not None


@dataclass(frozen=True)
class Inside:
    """What an operator of the project may do inside its machines."""

    store: Store
    guests: Guests
    files: GuestFiles
    streams: Streams
    networks: NetworkFacts
    keys: HouseKeys
    changes: Changes

    async def execute(self, asker: Asker, ref: str, command: GuestCommand) -> GuestResult:
        """Run a program in the guest by its agent."""
        machine = await self._running(asker, ref)
        return await self.guests.execute(machine.id, command)

    @asynccontextmanager
    async def console(self, asker: Asker, ref: str) -> AsyncIterator[Console]:
        """The serial console, shared with all who look at it."""
        machine = await self._running(asker, ref)
        opened: AbstractAsyncContextManager[Console] = self.guests.console(machine.id)
        async with opened as console:
            yield console

    async def log(self, asker: Asker, ref: str, last_bytes: int, *, qemu: bool = False) -> bytes:
        """The end of what the machine wrote to its console, or of what its QEMU had to say."""
        machine = await self._machine(asker, ref)
        return await self.guests.log(machine.id, last_bytes, qemu=qemu)

    async def read_file(self, asker: Asker, ref: str, path: str) -> AsyncIterator[bytes]:
        """A file of the guest, in pieces."""
        machine = await self._running(asker, ref)
        return self.files.read(machine.id, path)

    async def write_file(
        self, asker: Asker, ref: str, path: str, chunks: AsyncIterator[bytes], mode: int | None
    ) -> None:
        """Write a file of the guest; `mode` are its permission bits."""
        machine = await self._running(asker, ref)
        await self.files.write(machine.id, path, chunks, mode)

    @asynccontextmanager
    async def stream(self, asker: Asker, ref: str, port: int) -> AsyncIterator[Led]:
        """A connection to a TCP port of a machine; raises `Conflict` where no way leads there."""
        machine = await self._running(asker, ref)
        async with self.store.read() as tx:
            way = await way_to(tx, machine, port)
        opened: AbstractAsyncContextManager[Stream] = self.streams.connect(way.network, way.address, way.port)
        async with opened as stream:
            yield Led(stream, machine.id, way, self.store, self.changes)

    async def ssh(self, asker: Asker, ref: str, *, local: bool = True) -> SshAccess:
        """How to log in by SSH, from this host (`local`) or from elsewhere; see `engine.ways`."""
        machine = await self._running(asker, ref)
        async with self.store.read() as tx:
            image = await tx.images.get(machine.image) if machine.image else None
            way = await way_to(tx, machine, SSH, local=local, reached=self.networks.reached())
        host, port = (machine.name, SSH) if way.led else (way.address, way.port)
        known = host if port == SSH else f"[{host}]:{port}"
        return SshAccess(
            host=host,
            port=port,
            user=_user(image),
            identity_file=self.keys.private_path(machine.project) if asker.house else "",
            known_hosts=f"{known} {machine.status.host_key}".strip(),
            tunnel=way.led,
        )

    async def screen(self, asker: Asker, ref: str) -> str:
        """The unix socket at which the machine's screen speaks VNC."""
        return (await self._with_screen(asker, ref)).status.screen

    async def screenshot(self, asker: Asker, ref: str) -> Picture:
        """What the machine's screen shows now."""
        machine = await self._with_screen(asker, ref)
        return await self.guests.screenshot(machine.id)

    async def _machine(self, asker: Asker, ref: str) -> Machine:
        check_role(asker, Role.OPERATOR)
        async with self.store.read() as tx:
            return await find(tx.machines, asker.project, "machine", ref)

    async def _running(self, asker: Asker, ref: str) -> Machine:
        machine = await self._machine(asker, ref)
        if not _runs(machine):
            raise Conflict(
                f"machine {machine.name} is not running: {shown_state(machine).value}",
                subject=f"machine {machine.name}",
                field="state",
                value=machine.state.value,
                hint=f"`guest start {machine.name}` starts it",
            )
        return machine

    async def _with_screen(self, asker: Asker, ref: str) -> Machine:
        machine = await self._running(asker, ref)
        if not machine.status.screen:
            raise Conflict(
                f"machine {machine.name} has no screen",
                subject=f"machine {machine.name}",
                field="screen",
                hint=f"`guest set {machine.name} --screen` gives it one at its next start",
            )
        return machine


def _runs(machine: Machine) -> bool:
    return machine.power is not Power.STOPPED and bool(machine.status.pid)


def _user(image: Image | None) -> str:
    return (image.user if image else "") or "root"
