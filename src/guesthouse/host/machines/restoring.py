"""A QEMU that begins with saved memory and goes on where that stood still: a fork of a template, or a snapshot again.

Rules
-----
1. A snapshot is restored into the very tree that it was taken of, from its stream or from its settled memory, which all
   that go on from it share copy on write (`Frozen`). A fork's tree is that of the frozen machine, address
   by address; what the fork has beyond it (its seed, its NICs, more disks) is plugged before the vCPUs run.
2. Nothing half restored stays: a QEMU that does not come so far is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from guesthouse.host.durable import read_end
from guesthouse.host.frozen.pool import Frozen
from guesthouse.host.machines.ignition import Bound, Ignition, Lit
from guesthouse.host.machines.qmp import Gone
from guesthouse.host.race import first_of
from guesthouse.host.snapshots.folder import Saved
from guesthouse.model.errors import Failed
from guesthouse.qemu import hotplug, migration, networks
from guesthouse.qemu.boot import Boot, MemoryFile
from guesthouse.qemu.devices import DiskDevice, NicDevice, ScsiController, Seed
from guesthouse.qemu.messages import Command
from guesthouse.qemu.placed import Placed

_LAST_WORDS_BYTES = 1024


async def fork(ignition: Ignition, placed: Placed, boot: Callable[[Bound], Boot], frozen: Frozen) -> Lit:
    """A QEMU with the whole tree, its memory that of the frozen machine, its vCPUs standing still.

    Raises `Failed` when the state cannot be restored.
    """
    cold = placed.only(frozen.devices)
    lit = await ignition.light(cold, lambda bound: _waiting(boot(bound), frozen), frozen.descriptors)
    try:
        await _load(ignition, lit, frozen)
        ignition.reached("restored")
        for nic in placed.nics:
            if nic.tap and cold.get(nic.id) is None:
                await lit.monitor.give(lit.boot.taps[nic.mac], nic.netdev)
        for command in _rest(placed, cold, lit.boot):
            await lit.monitor.execute(command)
        ignition.reached("plugged")
    except BaseException:
        await lit.end()
        raise
    return lit


async def restore(ignition: Ignition, saved: Saved, boot: Callable[[Bound], Boot], frozen: Frozen) -> Lit:
    """A QEMU with memory and devices of a snapshot, its vCPUs standing still. Raises `Failed` when that cannot be."""

    return await _restored(ignition, saved, lambda bound: _waiting(boot(bound), frozen), frozen)


async def unfold(
    ignition: Ignition,
    saved: Saved,
    boot: Callable[[Bound], Boot],
    stream: int,
    memory: int,
    has_them: Callable[[], None] = lambda: None,
) -> Lit:
    """`restore` from a stream, its memory written to a file, as which it goes on.

    Both are descriptors; `has_them` is called as soon as QEMU has its own.
    """

    def waiting(bound: Bound) -> Boot:
        return replace(boot(bound), incoming=True, memory=_memory(memory, shared=True))

    return await _restored(ignition, saved, waiting, Frozen(stream), (memory,), has_them)


async def _restored(
    ignition: Ignition,
    saved: Saved,
    boot: Callable[[Bound], Boot],
    frozen: Frozen,
    inherited: tuple[int, ...] = (),
    has_them: Callable[[], None] = lambda: None,
) -> Lit:
    def with_networks(bound: Bound) -> Boot:
        return replace(boot(bound), networks=saved.networks)

    lit = await ignition.light(saved.placed, with_networks, (*frozen.descriptors, *inherited))
    try:
        has_them()
        await _load(ignition, lit, frozen)
        for command in networks.without_fillers(saved.networks):
            await lit.monitor.execute(command)
        ignition.reached("restored")
    except BaseException:
        await lit.end()
        raise
    return lit


def _waiting(boot: Boot, frozen: Frozen) -> Boot:
    """The start of a QEMU that waits for its state, and has its memory already where that is not in it."""
    if frozen.memory is None:
        return replace(boot, incoming=True)
    return replace(boot, incoming=True, memory=_memory(frozen.memory, shared=False))


def _memory(descriptor: int, *, shared: bool) -> MemoryFile:
    return MemoryFile(Path(f"/proc/self/fd/{descriptor}"), shared=shared)


async def _load(ignition: Ignition, lit: Lit, frozen: Frozen) -> None:
    capabilities = () if frozen.memory is None else (migration.MEMORY_STAYS,)
    if (status := await _loaded(lit, frozen.state, capabilities)) != "completed":
        said = read_end(ignition.folder.qemu_log, _LAST_WORDS_BYTES).decode(errors="replace").strip()
        raise Failed(f"the frozen state could not be restored: {said.splitlines()[-1] if said else status}")


async def _loaded(lit: Lit, state: int, capabilities: tuple[str, ...]) -> str:
    """How the restoring ended. A QEMU that cannot restore says so in its log and exits."""
    ended = "failed"

    async def follow() -> None:
        nonlocal ended
        while (ended := (await next_event())["data"]["status"]) not in migration.ENDED:
            pass

    with lit.monitor.listen(migration.EVENT) as next_event:
        try:
            await lit.monitor.execute(migration.capabilities(*capabilities))
            await lit.monitor.execute(migration.restore(state))
            await first_of(follow(), lit.process.ended.wait())
        except Gone:
            return "failed"
    return ended


def _rest(placed: Placed, cold: Placed, boot: Boot) -> Iterator[Command]:
    """What is to be told so that the cold tree becomes the whole one."""
    for device in placed.devices:
        if cold.get(device.id) is not None:
            continue
        if isinstance(device, NicDevice):
            yield from hotplug.plug_nic(placed, device.mac, boot.name)
        elif isinstance(device, ScsiController):  # it comes before its disks
            yield Command("device_add", device.mapping())
        elif isinstance(device, DiskDevice):
            yield from hotplug.plug_disk(placed, device.disk, boot.disks[device.disk], live=placed)
        elif isinstance(device, Seed):
            yield from hotplug.plug_seed(device, boot.seed)
