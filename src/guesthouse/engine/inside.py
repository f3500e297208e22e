"""Reaching into a running machine: console, programs, files, and how to get in by SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import msgspec

from guesthouse.decide.lifecycle import shown_state
from guesthouse.engine.accept import check_role
from guesthouse.engine.intents import Asker
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine, Power
from guesthouse.model.network import NetworkMode
from guesthouse.model.resources import Image, Role
from guesthouse.ports import Console, GuestCommand, GuestFiles, GuestResult, Guests, HouseKeys, Store, Transaction

_SSH = 22
# The modes of networks whose machines the host reaches by their addresses, as far as it knows these.
_REACHED = frozenset({NetworkMode.NAT, NetworkMode.HOST_ONLY})


class SshAccess(msgspec.Struct, frozen=True):
    """How to log in: where, as whom, with which key, and the line by which the machine is known.

    `identity_file` is empty for askers from afar: the house's private keys stay in the house.
    """

    host: str
    port: int
    user: str
    identity_file: str
    known_hosts: str


@dataclass(frozen=True)
class Inside:
    """What an operator of the project may do inside its machines."""

    store: Store
    guests: Guests
    files: GuestFiles
    keys: HouseKeys

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

    async def ssh(self, asker: Asker, ref: str) -> SshAccess:
        """How to log in by SSH: through a forwarded port, or at its address where the host reaches that."""
        machine = await self._running(asker, ref)
        async with self.store.read() as tx:
            image = await tx.images.get(machine.image) if machine.image else None
            host, port = ("127.0.0.1", machine.ssh_port) if machine.ssh_port else await _reached_at(tx, machine)
        if not host:
            raise Conflict(
                f"machine {machine.name} has neither a port of this host that leads to its SSH nor an address that this"
                " host reaches",
                subject=f"machine {machine.name}",
                hint=f"`guest console {machine.name}` needs no network",
            )
        known = host if port == _SSH else f"[{host}]:{port}"
        return SshAccess(
            host=host,
            port=port,
            user=_user(image),
            identity_file=self.keys.private_path(machine.project) if asker.house else "",
            known_hosts=f"{known} {machine.status.host_key}".strip(),
        )

    async def screen(self, asker: Asker, ref: str) -> str:
        """The unix socket at which the machine's screen speaks VNC."""
        machine = await self._running(asker, ref)
        if not machine.status.screen:
            raise Conflict(
                f"machine {machine.name} has no screen",
                subject=f"machine {machine.name}",
                hint=f"`guest set {machine.name} --screen` gives it one at its next start",
            )
        return machine.status.screen

    async def _machine(self, asker: Asker, ref: str) -> Machine:
        check_role(asker, Role.OPERATOR)
        async with self.store.read() as tx:
            return await find(tx.machines, asker.project, "machine", ref)

    async def _running(self, asker: Asker, ref: str) -> Machine:
        machine = await self._machine(asker, ref)
        if machine.power is Power.STOPPED or not machine.status.pid:
            raise Conflict(
                f"machine {machine.name} is not running: {shown_state(machine).value}",
                subject=f"machine {machine.name}",
                field="state",
                value=machine.state.value,
                hint=f"`guest start {machine.name}` starts it",
            )
        return machine


async def _reached_at(tx: Transaction, machine: Machine) -> tuple[str, int]:
    """Address and port of a machine's SSH as this host reaches them, or nothing."""
    for port in await tx.ports.select(machine=machine.id):
        network = await tx.networks.get(port.network)
        forwarded = (each.host_port for each in port.forwards if (each.guest_port, each.protocol) == (_SSH, "tcp"))
        if network is not None and network.mode in _REACHED and port.address:
            return port.address, _SSH
        if found := next(forwarded, 0):
            return "127.0.0.1", found
    return "", 0


def _user(image: Image | None) -> str:
    return (image.user if image else "") or "root"
