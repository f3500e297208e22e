"""A host in memory, for tests of the floors above: every step succeeds at once, guests are configured when they run.

It implements `ports.Host`. What a real box does is tested with real boxes; here only the doors and what they ask.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.machines import FakeMachines

from guesthouse.formats.pictures import Picture
from guesthouse.host.dialling import Target, connected
from guesthouse.model.errors import GuesthouseError, NotFound
from guesthouse.model.network import Network, NetworkWanted
from guesthouse.model.resources import Disk, Image, Template
from guesthouse.ports import Capacity, Finding, GuestCommand, GuestResult, HostAddresses, Lease, Progress, Stream

NOBODYS_PORT = 1


class FakeHost:
    """All ports of a box."""

    def __init__(self) -> None:
        self.machines = FakeMachines()
        self.guests = FakeGuests()
        self.files = FakeFiles()
        self.streams = FakeStreams()
        self.images = FakeImages()
        self.templates = FakeTemplates()
        self.disks = FakeDisks()
        self.networks = FakeNetworks()
        self.network_facts = FakeNetworkFacts()
        self.facts = FakeFacts()
        self.keys = FakeKeys()


# --- guests --------------------------------------------------------------------------------------------------


@dataclass
class FakeConsole:
    """A console: `written` is what was typed, what is put into `said` is shown."""

    said: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    written: bytearray = field(default_factory=bytearray)

    async def receive(self) -> bytes:
        return await self.said.get()

    async def send(self, data: bytes) -> None:
        """Echoes, as a terminal does."""
        self.written += data
        self.said.put_nowait(data)


class FakeGuests:
    """`ports.Guests`: a program answers with its own command; `gate` holds it back."""

    def __init__(self) -> None:
        self.consoles: defaultdict[str, FakeConsole] = defaultdict(FakeConsole)
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def execute(self, machine: str, command: GuestCommand) -> GuestResult:
        self.entered.set()
        if self.gate:
            await self.gate.wait()
        said = "\n".join((*command.argv, *command.environment))
        return GuestResult(3, said.encode(), command.stdin)

    @asynccontextmanager
    async def console(self, machine: str) -> AsyncIterator[FakeConsole]:
        yield self.consoles[machine]

    async def log(self, machine: str, last_bytes: int, *, qemu: bool = False) -> bytes:
        return (b"qemu: all is well\n" if qemu else b"login: \xff\n")[-last_bytes:]

    async def screenshot(self, machine: str) -> Picture:
        return Picture(2, 1, b"\xff\x00\x00\x00\x00\xff")


class FakeStreams:
    """`ports.Streams`: real connections to the loopback. `served` has the ports there that stand for machines' ports.

    `asked` is who was asked for: the name of the network, empty for the host itself, address and port.
    """

    def __init__(self) -> None:
        self.served: dict[tuple[str, int], int] = {}
        self.asked: list[tuple[str, str, int]] = []

    def connect(self, network: Network | None, address: str, port: int) -> AbstractAsyncContextManager[Stream]:
        self.asked.append((network.name if network else "", address, port))
        return connected(Target(None, "127.0.0.1", self.served.get((address, port), NOBODYS_PORT)))


class FakeFiles:
    """`ports.GuestFiles`: contents and modes by machine and path; `gate` holds back all pieces but the first."""

    def __init__(self) -> None:
        self.contents: dict[tuple[str, str], tuple[bytes, int | None]] = {}
        self.gate: asyncio.Event | None = None

    async def read(self, machine: str, path: str) -> AsyncIterator[bytes]:
        if (machine, path) not in self.contents:
            raise NotFound(f"there is no file {path} in the guest", field="path", value=path)
        content, _ = self.contents[machine, path]
        for start in range(0, len(content), 4096):
            yield content[start : start + 4096]
            if self.gate:
                await self.gate.wait()

    async def write(self, machine: str, path: str, chunks: AsyncIterator[bytes], mode: int | None) -> None:
        content = b"".join([chunk async for chunk in chunks])
        self.contents[machine, path] = (content, mode)


# --- images, disks, facts ------------------------------------------------------------------------------------


class FakeImages:
    """`ports.ImageHost`: every image is 64 MiB with a kernel and a disk. `made` are ids of what is there.

    `note` is told of each in the end.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.note = ""
        self.faults: dict[str, GuesthouseError] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def perform(
        self, kind: str, step: str, image: Image, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        if gate := self.gates.get(step):
            await gate.wait()
        if fault := self.faults.get(step):
            raise fault
        if kind == "image.delete":
            self.made.discard(image.id)
            return {}
        self.made.add(image.id)
        facts = {"disk": "disk.qcow2", "format": "qcow2", "kernel": "vmlinuz", "initrd": "initrd", "virtual_mib": 64}
        return {"facts": facts, "result": {"note": self.note} if self.note else {}}

    async def discard(self, image: Image, context: Mapping[str, Any]) -> None:
        if context["kind"] != "image.export":
            self.made.discard(image.id)


class FakeTemplates:
    """`ports.TemplateHost`. `made` are ids of what is there, half made ones too; `here` is who freezes."""

    def __init__(self) -> None:
        self.here = "tcg, QEMU 7.2.0"
        self.made: set[str] = set()
        self.faults: dict[str, GuesthouseError] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def frozen_by(self) -> str:
        return self.here

    async def perform(
        self, kind: str, step: str, template: Template, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        if kind == "template.create":
            assert context["image"]["id"] == template.image
            self.made.add(template.id)
        if gate := self.gates.get(step):
            await gate.wait()
        if fault := self.faults.get(step):
            raise fault
        if kind == "template.delete":
            self.made.discard(template.id)
            return {}
        return {"facts": {"frozen_by": self.here, "boot_ms": 5000, "memory_bytes": 64 << 20, "state_bytes": 400 << 10}}

    async def discard(self, template: Template) -> None:
        self.made.discard(template.id)


class FakeDisks:
    """`ports.DiskHost`: nothing to see but what the record says. `made` are ids of what is there."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.faults: dict[str, GuesthouseError] = {}

    async def perform(self, kind: str, step: str, disk: Disk, context: Mapping[str, Any], progress: Progress) -> None:
        if fault := self.faults.get(step):
            raise fault
        if kind == "disk.delete" or (kind == "disk.create" and step == "undo"):
            self.made.discard(disk.id)
        else:
            self.made.add(disk.id)

    async def describe(self, disk: Disk, image: Image | None) -> Mapping[str, Any]:
        return {"format": disk.format.value, "virtual_bytes": disk.size_mib * 1024 * 1024}


class FakeNetworks:
    """`ports.NetworkHost`: what was applied last, by id. `drifted` are words for what others took away, by id."""

    def __init__(self) -> None:
        self.made: dict[str, NetworkWanted] = {}
        self.drifted: dict[str, str] = {}
        self.faults: dict[str, GuesthouseError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.applied: asyncio.Queue[str] = asyncio.Queue()
        self._happened: asyncio.Queue[str] = asyncio.Queue()

    async def apply(self, wanted: NetworkWanted) -> None:
        if gate := self.gates.get("apply"):
            await gate.wait()
        if fault := self.faults.get("apply"):
            raise fault
        self.made[wanted.network.id] = wanted
        self.drifted.pop(wanted.network.id, None)
        self.applied.put_nowait(wanted.network.name)

    async def differs(self, wanted: NetworkWanted) -> Sequence[str]:
        id = wanted.network.id
        return [self.drifted[id]] if id in self.drifted else [] if id in self.made else ["there is none"]

    async def remove(self, network: Network) -> None:
        if fault := self.faults.get("remove"):
            raise fault
        self.made.pop(network.id, None)

    async def follow(self) -> AsyncIterator[str]:
        while True:
            yield await self._happened.get()

    def drift(self, network: str) -> None:
        """Another program takes something away."""
        self.drifted[network] = "there is no link"
        self._happened.put_nowait(network)


NO_NETWORKS = Finding("networks", "warning", "user-mode networks alone", "become root")


class FakeNetworkFacts:
    """`ports.NetworkFacts` of a box that can have networks once `refused` is None."""

    def __init__(self) -> None:
        self.refused: Finding | None = NO_NETWORKS
        self.has = HostAddresses(own=("192.0.2.1",), reached=("192.0.2.0/24",))
        self.leased: list[Lease] = []
        self.reaches = True

    async def refusal(self) -> Finding | None:
        return self.refused

    async def addresses(self) -> HostAddresses:
        return self.has

    def leases(self, network: Network) -> Sequence[Lease]:
        return self.leased

    def reached(self) -> bool:
        return self.reaches


class FakeFacts:
    """`ports.HostFacts` of a large box; `taken` are ports in use."""

    def __init__(self) -> None:
        self.has = Capacity(
            cpus=64, memory_mib=262144, memory_free_mib=131072, disk_free_mib=4194304, accelerator="tcg"
        )
        self.taken: set[int] = set()

    async def capacity(self) -> Capacity:
        return self.has

    async def check(self) -> Sequence[Finding]:
        return [Finding("kvm", "warning", "/dev/kvm is not there", "enable virtualisation in the firmware")]

    async def port_is_free(self, port: int, protocol: str) -> bool:
        return port not in self.taken


class FakeKeys:
    """`ports.HouseKeys`."""

    async def public(self, project: str) -> str:
        return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake house"

    def private_path(self, project: str) -> str:
        return f"/fake/keys/{project}"

    async def secret(self) -> bytes:
        return b"nobody knows"
