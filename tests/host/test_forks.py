"""Forks of one frozen micro image on this box: machines of their own, in nothing but their memory alike."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import re
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.host.boxes import a_disk, changed, silent
from tests.host.guests import Guest
from tests.host.shelves import MEMORY_MIB, Shelf, configured, is_fork, launched
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Observed
from guesthouse.host.local import open_host
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Bus, Forward, NicSpec, Outcome, Stage

pytestmark = pytest.mark.vm

USER_DATA = """#cloud-config
write_files:
- path: /root/note
  content: written by cloud-config
"""
# What no two machines may have in common; one line each.
_OWN = (
    "hostname",
    "cat /etc/machine-id",
    "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-ed25519",
    "od -An -v -tx1 -N64 -w64 /dev/urandom",
    "cat /proc/sys/kernel/random/uuid",
    "python3 -I -S -c 'import os; print(os.urandom(16))'",
    "cat /sys/class/net/eth0/address",
)


def nic(number: int) -> NicSpec:
    return NicSpec(mac=f"52:54:00:00:01:{number:02x}", forwards=(Forward(guest_port=22),))


async def own(guest: Guest) -> list[str]:
    """What this machine has for itself."""
    said = (await guest.run("sh", "-c", "; ".join(_OWN))).splitlines()
    assert len(said) == len(_OWN), said
    return said


def pid_of(observed: Observed) -> int:
    assert observed.process is not None
    return observed.process.pid


async def test_a_fork_is_configured_as_a_machine_of_its_own(shelf: Shelf) -> None:
    async with open_host(shelf.house) as host:
        desired = shelf.fork("alice", user_data=USER_DATA)
        async with configured(shelf, host, desired) as guest:
            observed = await host.machines.observe(desired)
            assert observed.process is not None
            assert observed.process.runstate == "running"
            assert observed.process.outcome == Outcome(ok=True, source="nocloud")
            assert await guest.run("hostname") == "alice\n"
            assert await guest.run("cat", "/root/note") == "written by cloud-config"
            assert (await guest.banner()).startswith(b"SSH-2.0-")
            key = await guest.run("dropbearkey", "-y", "-f", "/etc/dropbear/dropbear_ed25519_host_key")
            assert observed.host_key in key
    assert list(shelf.house.machines.iterdir()) == []


async def test_a_fork_that_is_reachable_has_its_address(shelf: Shelf) -> None:
    """Its agent answers from the first moment: who took that for reachable had his first packet lost."""
    async with open_host(shelf.house) as host, launched(shelf.house, host, shelf.fork()) as (guest, observed):
        assert is_fork(observed)
        await guest.until(Stage.REACHABLE)
        assert "inet 10.0.2.15/24" in await guest.run("ip", "-4", "-o", "address", "show", "dev", "eth0")
        assert await guest.run("pidof", "dropbear")


async def test_two_forks_have_nothing_in_common(shelf: Shelf) -> None:
    async with open_host(shelf.house) as host, AsyncExitStack() as stack:
        said = []
        for number, name in enumerate(("one", "two")):
            desired = shelf.fork(name, nics=(nic(number),))
            guest = await stack.enter_async_context(configured(shelf, host, desired))
            said.append(await own(guest))
        assert said[0][0] == "one"
        assert said[0][-1] == nic(0).mac
        for one, two in zip(*said, strict=True):
            assert one != two


async def test_the_clock_of_a_fork_is_not_the_templates(shelf: Shelf) -> None:
    # How old the template is must be more than the clock may be wrong by, for this to be able to fail.
    age_s = time.time() - shelf.folder.facts.stat().st_mtime
    await asyncio.sleep(max(0.0, 15 - age_s))
    async with open_host(shelf.house) as host, configured(shelf, host, shelf.fork()) as guest:
        before = time.time()
        told = float(await guest.run("date", "+%s"))
        # Whole seconds twice, and whatever a busy box takes between reading the clock and setting it.
        assert before - 8 < told < time.time() + 1


async def test_forks_share_memory_that_nobody_can_write_to(shelf: Shelf) -> None:
    before = hashlib.sha256(shelf.folder.memory.read_bytes()).digest()
    async with open_host(shelf.house) as host, AsyncExitStack() as stack:
        inodes = set()
        for name in ("one", "two"):
            desired = shelf.fork(name)
            guest = await stack.enter_async_context(configured(shelf, host, desired))
            await guest.run("sh", "-c", "head -c 8388608 /dev/urandom >/tmp/written")
            memory = memory_of(pid_of(await host.machines.observe(desired)))
            inodes.add(memory.stat().st_ino)
            assert hashlib.sha256(memory.read_bytes()).digest() == before
            with memory.open("r+b", buffering=0) as file:
                for attempt in (
                    lambda: os.pwrite(file.fileno(), b"evil", 0),
                    lambda: os.ftruncate(file.fileno(), 0),
                    lambda: mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED),
                ):
                    with pytest.raises(PermissionError):
                        attempt()
        assert len(inodes) == 1
    assert hashlib.sha256(shelf.folder.memory.read_bytes()).digest() == before


def memory_of(pid: int) -> Path:
    """The template's memory among the descriptors of a QEMU, which maps it for itself alone."""
    maps = Path(f"/proc/{pid}/smaps").read_text()
    modes = re.findall(r"^\S+ (\S+) .* /memfd:frozen-\S+ \(deleted\)$", maps, re.MULTILINE)
    assert modes
    assert {mode[-1] for mode in modes} == {"p"}
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return next(found for found in descriptors if str(found.readlink()).startswith("/memfd:frozen-"))


async def test_a_fork_reboots_and_restarts_as_any_machine(shelf: Shelf) -> None:
    async with open_host(shelf.house) as host, configured(shelf, host, shelf.fork("alice")) as guest:
        boot, mine = await guest.run("cat", "/proc/sys/kernel/random/boot_id"), await own(guest)
        run = await host.runs.find(guest.desired.machine.id)
        assert run is not None
        rebooted = asyncio.ensure_future(run.stages.rebooted.wait())
        # The program never ends for us: the agent that would tell is gone with the reboot.
        with pytest.raises(Conflict, match="does not answer"):
            await guest.run("sh", "-c", "reboot -f; sleep 1000000")
        await asyncio.wait_for(rebooted, PATIENCE_S)
        await guest.until(Stage.CONFIGURED)
        assert await guest.run("cat", "/proc/sys/kernel/random/boot_id") != boot
        assert await guest.run("cat", "/sys/class/dmi/id/product_family") != "template\n"
        assert is_fork(await host.machines.observe(guest.desired))
        assert await guest.want(changed(guest.desired, restart_epoch=1)) == ["shutdown", "start", "resume"]
        assert not is_fork(await guest.until(Stage.CONFIGURED))
        again = await own(guest)
        # Name, SSH host key and MAC address are the machine's; the image has no disk to keep a machine-id on.
        assert [again[place] for place in (0, 2, 6)] == [mine[place] for place in (0, 2, 6)]


async def test_a_machine_that_the_template_does_not_fit_boots(shelf: Shelf) -> None:
    async with open_host(shelf.house) as host:
        desired = shelf.fork("large", memory_mib=MEMORY_MIB + 32)
        async with launched(shelf.house, host, desired) as (guest, observed):
            assert not is_fork(observed)
            await guest.until(Stage.CONFIGURED)
            assert await guest.run("hostname") == "large\n"


async def test_a_fork_has_disks_and_nics_that_the_template_had_not(shelf: Shelf) -> None:
    sizes = {Bus.VIRTIO: (16, 24), Bus.SCSI: (32, 40)}
    disks = tuple((a_disk(size_mib, name=f"d{size_mib}"), bus) for bus, row in sizes.items() for size_mib in row)
    async with open_host(shelf.house) as host:
        desired = shelf.fork(disks=disks, nics=(nic(1), nic(2)))
        async with configured(shelf, host, desired) as guest:
            for disk, bus in disks:
                await has_disk(guest, disk.id.replace("-", "")[:20], disk.size_mib, bus)
            addresses = (await guest.run("sh", "-c", "cat /sys/class/net/eth*/address")).split()
            assert sorted(addresses) == [nic(1).mac, nic(2).mac]
            ports = forwarded(await host.machines.observe(desired))
            assert len(set(ports)) == 2
            assert (await guest.banner()).startswith(b"SSH-2.0-")
            # What was plugged at the fork is unplugged as anything else is.
            spec = {"disks": desired.machine.spec.disks[1:], "nics": (nic(1),)}
            assert await guest.want(changed(desired, spec=spec)) == ["unplug-disk", "unplug-nic"]


# Names and addresses of NICs, the NIC of each default route from the best on, names and serials of disks.
_NAMES = """
for nic in /sys/class/net/eth*; do echo ${nic##*/} $(cat $nic/address); done
until [ "$(ip route | grep -c ^default)" = 3 ]; do sleep 0.1; done
ip route | grep -o '^default.* dev eth[0-9]' | grep -o 'eth[0-9]'
for disk in /sys/class/block/vd*; do echo ${disk##*/} $(cat $disk/serial); done
"""


@pytest.mark.parametrize("frozen", [True, False], ids=["fork", "boot"])
async def test_nics_and_disks_have_their_names_by_their_places(shelf: Shelf, frozen: bool) -> None:
    disks = tuple((a_disk(16, name=f"d{number}"), Bus.VIRTIO) for number in range(2))
    async with open_host(shelf.house) as host:
        desired = shelf.fork(disks=disks, nics=tuple(map(nic, (3, 1, 2))))
        if not frozen:
            desired = replace(desired, template=None)
        async with launched(shelf.house, host, desired) as (guest, observed):
            assert is_fork(observed) is frozen
            await guest.until(Stage.CONFIGURED)
            assert (await guest.run("sh", "-c", _NAMES)).splitlines() == [
                *(f"eth{place} {nic(number).mac}" for place, number in enumerate((3, 1, 2))),
                *("eth0", "eth1", "eth2"),
                *(f"vd{letter} {disk.id.replace('-', '')[:20]}" for letter, (disk, _) in zip("ab", disks, strict=True)),
                "vdc seed",
            ]


async def has_disk(guest: Guest, serial: str, size_mib: int, bus: Bus) -> None:
    """The guest has, soon, a disk with this serial number and size."""
    place = "serial" if bus is Bus.VIRTIO else "device/vpd_pg80"
    look = f"grep -ql {serial} /sys/class/block/$d/{place} && grep -qx {size_mib * 2048} /sys/class/block/$d/size"
    every = f"for d in $(ls /sys/class/block); do {look} && exit 0; done 2>/dev/null"
    await guest.run("sh", "-c", f"while true; do {every}; sleep 0.1; done")


def forwarded(observed: Observed) -> list[int]:
    assert observed.process is not None
    return [forward.host_port for forward in observed.process.forwards]


def test_a_template_takes_up_no_more_than_its_guest_uses(shelf: Shelf) -> None:
    taken_mib = (shelf.folder.memory.stat().st_blocks * 512) >> 20
    assert shelf.folder.memory.stat().st_size == MEMORY_MIB << 20
    assert taken_mib < 0.8 * MEMORY_MIB  # nearly all of it was touched on the way to the gate
    assert shelf.folder.read_facts().memory_bytes >> 20 == taken_mib


async def test_a_fork_outlives_its_template(shelf: Shelf) -> None:
    own_shelf = shelf.copy()
    async with open_host(shelf.house) as host, configured(own_shelf, host, own_shelf.fork()) as guest:
        await host.templates.perform("template.delete", "remove", own_shelf.template, {}, silent)
        assert not own_shelf.folder.path.exists()
        # The root file system is in the frozen memory, and most of it was never touched since.
        size = await guest.run("sh", "-c", "find / -xdev -type f -exec cat {} + | wc -c")
        assert int(size) > 8 << 20
        # Nothing is left to fork from: the next one boots.
        async with launched(shelf.house, host, own_shelf.fork("late")) as (_, observed):
            assert not is_fork(observed)
