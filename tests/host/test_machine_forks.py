"""Forks of machines that run: what they have in common with where they come from, and what not."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from tests.host.boxes import a_daemon, a_disk, changed, converge, folder_of, new_id, qemus, silent
from tests.host.guests import Guest
from tests.host.shelves import Shelf
from tests.host.test_broken_off import held, left_alone
from tests.host.test_snapshots import owner
from tests.host.timelines import Timeline, a_timeline, count, counts, process_of, taken, taking, tidy, without

from guesthouse.decide.forks import forked_disk, forked_spec
from guesthouse.decide.observed import Desired
from guesthouse.decide.plan import plan
from guesthouse.decide.steps import GiveIdentity, RemoveSnapshot, TakeSnapshot
from guesthouse.host import identity, local
from guesthouse.host.local import open_host
from guesthouse.host.machines.starting import POINTS, RESTORE_POINTS
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.machine import Bus, Deleting, DiskFormat, NicSpec, Power, Stage
from guesthouse.model.resources import Disk, Snapshot, SnapshotState

pytestmark = pytest.mark.vm


def forking(desired: Desired, *names: str) -> tuple[Desired, Snapshot, list[Desired]]:
    """The machine when it is to be forked, the snapshot that its forks go on from, and the forks."""
    desired, snapshot = taking(desired, passing=True)
    shared = [msgspec.structs.replace(disk, shared=tuple(disk.layers)[:-1]) for disk in desired.disks]
    desired = replace(desired, disks=tuple(shared))
    forks = [_fork(desired, snapshot, name) for name in names]
    return replace(desired, forks=tuple(disk for fork in forks for disk in fork.disks)), snapshot, forks


def _fork(source: Desired, snapshot: Snapshot, name: str) -> Desired:
    id, own = new_id(), {disk: new_id() for disk in snapshot.disks}
    spec = forked_spec(snapshot.spec, name, own)
    nics = tuple(msgspec.structs.replace(nic, mac=f"52:54:00:{os.urandom(3).hex(':')}") for nic in spec.nics)
    disks = tuple(
        forked_disk(disk, snapshot.disks[disk.id], own[disk.id], new_id(), id, f"{name}-{disk.name}")
        for disk in source.disks
    )
    machine = msgspec.structs.replace(
        source.machine,
        id=id,
        name=name,
        origin=source.machine.id,
        configured_as=source.machine.configured_as or source.machine.id,
        power=Power.RUNNING if snapshot.memory else Power.STOPPED,
        snapshot="",
        restart_epoch=1,
        restore=snapshot.id if snapshot.memory else "",
        restore_epoch=1,
        spec=msgspec.structs.replace(spec, nics=nics),
    )
    ready = msgspec.structs.replace(snapshot, state=SnapshotState.READY)
    return Desired(machine, disks, source.image, source.images, source=ready if snapshot.memory else None)


@asynccontextmanager
async def forked(line: Timeline, *names: str) -> AsyncIterator[list[Timeline]]:
    """Forks of a machine, as they are when they have names of their own; gone at the end, with their disks."""
    desired, snapshot, forks = forking(line.guest.desired, *names)
    await line.guest.want(desired)
    line.guest.desired = taken(replace(desired, forks=()), snapshot)
    async with AsyncExitStack() as stack:
        lines = []
        for fork in forks:
            guest = Guest(line.guest.house, line.guest.host, fork)
            stack.push_async_callback(_gone, guest)
            await converge(guest.host, fork)
            guest.desired = settled(fork)
            lines.append(Timeline(guest))
        line.guest.desired = without(line.guest.desired, snapshot)
        await line.guest.host.machines.perform(RemoveSnapshot(snapshot), line.guest.desired, silent)
        yield lines


def settled(fork: Desired) -> Desired:
    """A fork as it is wanted once it runs."""
    return replace(changed(fork, restore=""), source=None)


async def _gone(guest: Guest) -> None:
    await converge(guest.host, changed(guest.desired, deleting=Deleting.WITH_DISKS))


IDENTITY = ("hostname", "cat /sys/class/net/eth0/address", "md5sum </etc/dropbear/dropbear_ed25519_host_key")


async def test_forks_go_on_as_others(shelf: Shelf) -> None:
    one, two = a_disk(16), a_disk(16, format=DiskFormat.RAW)
    async with a_timeline(shelf, (one, Bus.VIRTIO), (two, Bus.VIRTIO)) as line:
        await line.shell("echo before >/run/note")
        await line.write(one, "before")
        await line.write(two, "before too")
        least = await count(line)
        async with forked(line, "web-1", "web-2") as forks:
            await line.shell("echo after >/run/note")
            await line.write(one, "after")
            for fork in forks:
                first, second = fork.guest.desired.disks
                assert await fork.shell("cat /run/note") == "before\n"
                assert await fork.read(first) == "before"
                assert await fork.read(second) == "before too"
                assert await count(fork) >= least
                await counts(fork)
                assert (await fork.guest.banner()).startswith(b"SSH-2.0-")
                process = await process_of(fork)
                assert (process.runstate, process.stage, process.nameless) == ("running", Stage.CONFIGURED, False)
                assert process.outcome is not None
                await fork.write(first, "its own")
            for command in (*IDENTITY, "od -An -tx1 -N64 /dev/urandom", "cat /proc/sys/kernel/random/uuid"):
                assert len({await each.shell(command) for each in (line, *forks)}) == 3, command
            now = int(await line.shell("date +%s"))
            for fork in forks:
                assert abs(int(await fork.shell("date +%s")) - now) < 5
            assert await line.read(one) == "after"
            await line.shell("ip route get 10.0.2.2 && [ $(hostname) = web ]")


async def test_a_fork_outlives_what_it_was_forked_from(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with AsyncExitStack() as stack, a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.write(disk, "of the first")
        host, (fork,) = line.guest.host, await stack.enter_async_context(forked(line, "web-1"))
        (own,) = fork.guest.desired.disks
        files = {path.name: path for path in shelf.house.disks.glob(f"{own.id}.*")}
        shared, written = files[f"{own.id}.qcow2"], files[f"{own.id}.{own.layer}.qcow2"]
        number = identity.machine_number(folder_of(shelf.house, fork.guest.desired).path)
        if number is not None:
            assert owner(shared) == (0, identity.project_group(0), 0o640)
            assert owner(written) == (number, number, 0o600)
        assert shared.stat().st_nlink == 2
        await converge(host, changed(line.guest.desired, deleting=Deleting.WITH_DISKS))
        assert shared.stat().st_nlink == 1
        assert await fork.read(own) == "of the first"
        await fork.power(Power.STOPPED)
        await fork.power(Power.RUNNING)
        await fork.guest.until(Stage.CONFIGURED)
        assert await fork.read(own) == "of the first"
        assert await fork.shell("hostname") == "web-1\n"
        # What nobody else has any more is merged.
        alone = replace(fork.guest.desired, disks=(msgspec.structs.replace(own, shared=()),))
        assert "merge-layer" in await fork.guest.want(tidy(alone))
        assert await fork.read(own) == "of the first"
        await stack.aclose()


async def test_a_fork_is_forked(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(
        shelf, (disk, Bus.VIRTIO), nics=(NicSpec(mac="52:54:00:00:00:01"), NicSpec(mac="52:54:00:00:0A:0B"))
    ) as line:
        await line.write(disk, "of the first")
        async with forked(line, "child") as (child,):
            await child.write(child.guest.desired.disks[0], "of the second", at_mib=1)
            await child.shell("echo child >/run/note")
            async with forked(child, "grandchild") as (grandchild,):
                (own,) = grandchild.guest.desired.disks
                assert await grandchild.read(own) == "of the first"
                assert await grandchild.read(own, at_mib=1) == "of the second"
                assert await grandchild.shell("cat /run/note") == "child\n"
                assert len({await each.shell("hostname") for each in (line, child, grandchild)}) == 3
                for nic in ("eth0", "eth1"):
                    command = f"cat /sys/class/net/{nic}/address; ip -4 address show {nic} | grep -c inet"
                    assert len({await each.shell(command) for each in (line, child, grandchild)}) == 3


async def test_nothing_goes_out_before_a_fork_has_its_name(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        desired, snapshot, (fork,) = forking(line.guest.desired, "web-1")
        await line.guest.want(desired)
        line.guest.desired = taken(replace(desired, forks=()), snapshot)
        guest = Guest(shelf.house, line.guest.host, fork)
        try:
            while not isinstance((step := await next_step(guest)), GiveIdentity):
                await guest.host.machines.perform(step, fork, silent)
            assert await guest.run("sh", "-c", "hostname; cat /sys/class/net/eth0/carrier") == "web\n0\n"
            observed = await guest.host.machines.observe(fork)
            assert observed.process is not None
            assert (observed.process.stage, observed.process.nameless) == (Stage.RUNNING, True)
            # Were it to end now, it would be nobody: it does not start again.
            (pid,) = set(qemus(shelf.house)) - {(await process_of(line)).pid}
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(Failed, match="ended before it was any other"):
                await guest.want(fork)
        finally:
            await _gone(guest)


async def test_what_the_pool_has_no_room_for_is_a_stream(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_POOL_SHARE", 1 << 30)
    async with a_timeline(shelf) as line:
        await line.shell("echo before >/run/note")
        async with forked(line, "web-1") as (fork,):
            assert await fork.shell("hostname; cat /run/note") == "web-1\nbefore\n"


async def test_a_machine_goes_on_when_the_helper_ends(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        (alive,) = qemus(shelf.house)

        def end_helper(point: str) -> None:
            if point == "waiting":
                (helper,) = set(qemus(shelf.house)) - {alive}
                os.kill(helper, signal.SIGKILL)

        desired, snapshot, _ = forking(before, "web-1")
        async with open_host(shelf.house, reached=end_helper) as host:
            line = Timeline(Guest(shelf.house, host, desired))
            with pytest.raises(Failed, match="the memory could not be put away"):
                await host.machines.perform(TakeSnapshot(snapshot), desired, silent)
            line.guest.desired = tidy(replace(desired, snapshots=(), forks=()))
            await line.guest.want(line.guest.desired)
            await counts(line)
            assert await line.read(disk) == "before"
            assert qemus(shelf.house) == [alive]
            assert list(shelf.house.snapshots.iterdir()) == []


async def next_step(guest: Guest) -> Any:
    return plan(guest.desired, await guest.host.machines.observe(guest.desired))[0]


async def test_an_image_that_cannot_rename_itself_is_told_so(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        await line.shell("mount -t tmpfs none /usr/lib/guesthouse")
        desired, snapshot, (fork,) = forking(line.guest.desired, "web-1")
        await line.guest.want(desired)
        line.guest.desired = taken(replace(desired, forks=()), snapshot)
        guest = Guest(shelf.house, line.guest.host, fork)
        try:
            with pytest.raises(Conflict, match="cannot be told that it is another one"):
                await guest.want(fork)
        finally:
            await _gone(guest)


async def test_the_disks_of_a_stopped_machine_are_forked(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.write(disk, "before")
        await line.power(Power.STOPPED)
        async with forked(line, "web-1") as (fork,):
            assert await fork.power(Power.RUNNING) == ["write-seed", "start", "resume"]
            await fork.guest.until(Stage.CONFIGURED)
            assert await fork.read(fork.guest.desired.disks[0]) == "before"
            assert await fork.shell("hostname") == "web-1\n"


# What comes before is the same for whoever goes on from a snapshot (`test_broken_off`).
@pytest.mark.parametrize("point", [point for point in RESTORE_POINTS if point not in POINTS])
async def test_a_daemon_killed_while_starting_a_fork(shelf: Shelf, point: str) -> None:
    """Before its vCPUs ran it begins anew; afterwards it gets its name."""
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        desired, snapshot, (fork,) = forking(before, "web-1")
        async with held(shelf, desired) as line:
            await line.guest.want(desired)
        try:
            async with a_daemon(shelf.house, fork, point, whole=True):
                pass
        finally:
            async with held(shelf, fork) as child:
                try:
                    await child.guest.want(fork)
                    assert await child.shell("hostname; cat /run/note") == "web-1\nbefore\n"
                    await counts(child)
                    assert await child.read(fork.disks[0]) == "before"
                finally:
                    await _gone(child.guest)
            async with held(shelf, taken(replace(desired, forks=()), snapshot)) as line:
                await line.delete(snapshot)


async def test_a_daemon_killed_while_sharing_layers(shelf: Shelf) -> None:
    """Whatever is there already, sharing it again ends the same."""
    disk: Disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.take()
        desired, snapshot, (fork,) = forking(line.guest.desired, "web-1")
        await line.guest.want(desired)
        line.guest.desired = taken(replace(desired, forks=()), snapshot)
        (own,) = fork.disks
        held_layer = own.layers[own.layer]
        (shelf.house.disks / f"{own.id}.{held_layer}.qcow2").unlink()
        assert (await line.guest.want(desired)) == ["share-layers"]
        assert {path.name for path in shelf.house.disks.glob(f"{own.id}.*")} == {
            f"{own.id}.qcow2",
            f"{own.id}.{held_layer}.qcow2",
        }
        await converge(line.guest.host, changed(fork, deleting=Deleting.WITH_DISKS))
