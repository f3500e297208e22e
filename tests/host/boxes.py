"""A house on this box for a test: real folders, real QEMU, and nothing left at the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.plan import plan
from guesthouse.formats import nftables
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import LocalHost, open_host
from guesthouse.host.machines import process
from guesthouse.host.machines.folder import Folder
from guesthouse.model.house import House
from guesthouse.model.machine import DiskSpec, Firmware, Forward, Machine, MachineSpec, NicSpec, Power
from guesthouse.model.resources import Disk, Image

MAC = "52:54:00:00:00:01"
QEMU = "qemu-system-x86_64"


def silent(phase: str, percent: float | None = None) -> None:
    """Progress that nobody looks at."""


def new_id() -> str:
    return str(uuid.uuid4())


@contextmanager
def a_house(parent: Path | None = None) -> Iterator[House]:
    """A house that machines' users can reach. Whatever runs in it is killed at the end."""
    home = Path(tempfile.mkdtemp(prefix="guesthouse-test-", dir=parent))
    home.chmod(0o711)
    house = House(home, home)
    try:
        yield house
    finally:
        for pid in qemus(house):
            with suppress(ProcessLookupError):  # it was just ending
                os.kill(pid, signal.SIGKILL)
        _unfence(home)
        shutil.rmtree(home)


def _unfence(home: Path) -> None:
    """Remove the tables of a house and of houses inside it, which a killed daemon or a running machine left."""
    homes = {home, *(inside.parent for inside in home.rglob("machines"))}
    text = "".join(nftables.without(nftables.table_of(each.resolve())) for each in homes)
    with suppress(FileNotFoundError):  # without nft there are none
        # Nor are there any where it ends badly: for a user who is not root.
        subprocess.run(("nft", "-f", "-"), input=text, text=True, capture_output=True, env={"PATH": process.PROGRAMS})


@asynccontextmanager
async def a_host(**options: Any) -> AsyncIterator[tuple[House, LocalHost]]:
    """A house and its host."""
    with a_house() as house:
        async with open_host(house, **options) as host:
            yield house, host


@asynccontextmanager
async def a_daemon(
    house: House, desired: Desired, point: str, binary: str = QEMU, *, whole: bool = False
) -> AsyncIterator[int]:
    """A daemon in a process of its own that has come to `point`; its process id. `whole`: of all the plan's steps."""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.host.daemon", str(house.home), binary, point, *(("all",) if whole else ()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    daemon.stdin.write(msgspec.json.encode(desired))
    daemon.stdin.close()
    try:
        assert await daemon.stdout.readline() == b"there\n"
        yield daemon.pid
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.wait()


def qemus(house: House) -> list[int]:
    """Process ids of all QEMUs of a house, and of houses inside it, by their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            argv = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(os.fsencode(house.home) + b"/") for word in argv):
            found.append(int(path.name))
    return found


def a_disk(size_mib: int = 16, **values: Any) -> Disk:
    return Disk(**{"id": new_id(), "project": "p", "name": "data", "size_mib": size_mib, **values})


def attach(disk: Disk, **values: Any) -> DiskSpec:
    """The disk as a machine's description names it."""
    return DiskSpec(name=disk.name, disk=disk.id, size_mib=disk.size_mib, format=disk.format, thin=disk.thin, **values)


def wanted(
    *, image: Image | None = None, disks: tuple[Disk, ...] = (), power: Power = Power.PAUSED, **spec: Any
) -> Desired:
    """A machine: without an image one that stops in its BIOS, standing still."""
    described = MachineSpec(
        **{
            "name": "web",
            "image": image.id if image else "",
            "memory_mib": 192 if image else 64,
            "firmware": Firmware.AUTO if image else Firmware.BIOS,
            "nics": (NicSpec(mac=MAC, forwards=(Forward(guest_port=22),)),) if image else (),
            "disks": tuple(map(attach, disks)),
            **spec,
        }
    )
    machine = Machine(id=new_id(), project="p", name="web", host="h", spec=described, power=power, stop_timeout_s=60)
    return Desired(machine, disks, image, (image,) if image else ())


def changed(desired: Desired, *, disks: tuple[Disk, ...] | None = None, spec: Any = (), **machine: Any) -> Desired:
    """The same machine, wanted otherwise."""
    described = msgspec.structs.replace(desired.machine.spec, **dict(spec))
    record = msgspec.structs.replace(desired.machine, spec=described, **machine)
    kept = desired.disks if disks is None else disks
    return replace(desired, machine=record, disks=kept)


async def converge(host: LocalHost, desired: Desired) -> tuple[Observed, list[str]]:
    """Do what the plan says until it says nothing; the machine then, and the names of the steps."""
    done: list[str] = []
    while True:
        observed = await host.machines.observe(desired)
        steps = plan(desired, observed)
        if not steps:
            return observed, done
        assert len(done) < 20, done
        await host.machines.perform(steps[0], desired, silent)
        done.append(steps[0].name)


async def until(host: LocalHost, desired: Desired, reached: Callable[[Observed], bool]) -> Observed:
    """The machine as soon as it is as asked; looked at whenever the host says that something happened."""
    async with asyncio.timeout(PATIENCE_S):
        news = host.machines.follow()
        while not reached(observed := await host.machines.observe(desired)):
            await anext(news)
        return observed


def publish(house: House, built: BuiltImage, **values: Any) -> Image:
    """An image of the house from what a builder left."""
    image = Image(
        **{
            "id": new_id(),
            "project": "p",
            "name": built.os,
            "public": True,
            "disk": built.disk or "",
            "kernel": built.kernel or "",
            "initrd": built.initrd or "",
            "cmdline": built.cmdline,
            **values,
        }
    )
    shutil.copytree(built.folder, house.images / image.id)
    return image


def folder_of(house: House, desired: Desired) -> Folder:
    return Folder(house.machines / desired.machine.id)


def is_alive(house: House, desired: Desired) -> bool:
    """Whether a QEMU of the machine holds its lock."""
    return process.is_locked(folder_of(house, desired).lock)
