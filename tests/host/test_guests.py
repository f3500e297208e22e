"""One real guest, booted once: stages, programs, files, console, hot-plug, reboot, shutdown. In this order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tests.host.boxes import (
    MAC,
    a_disk,
    a_house,
    attach,
    changed,
    folder_of,
    publish,
    until,
    wanted,
)
from tests.host.guests import Guest
from tests.patience import PATIENCE_S
from tests.ports import a_port

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import open_host
from guesthouse.host.machines.folder import Folder
from guesthouse.host.probe import Looker
from guesthouse.host.stages import Stages
from guesthouse.model.errors import Conflict, NotFound, TimedOut
from guesthouse.model.machine import Bus, Forward, NicSpec, Outcome, Power, Stage
from guesthouse.ports import GuestCommand

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

_OURS = Path("/proc/self/comm").read_text().strip()
USER_DATA = """#cloud-config
write_files:
- path: /root/note
  content: written by cloud-config
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def booted(micro_image: BuiltImage) -> AsyncIterator[Guest]:
    with a_house() as house:
        async with open_host(house) as host:
            desired = wanted(image=publish(house, micro_image), power=Power.RUNNING, user_data=USER_DATA)
            guest = Guest(house, host, desired)
            await guest.want(desired)
            yield guest


@pytest_asyncio.fixture(loop_scope="module")
async def guest(booted: Guest) -> AsyncIterator[Guest]:
    """The guest, brought back after the test to what it was before."""
    before = booted.desired
    yield booted
    await booted.want(before)


async def test_a_disk_goes_although_the_guest_was_not_there_to_hear_of_it(guest: Guest) -> None:
    disk, before = a_disk(size_mib=16), guest.desired
    # The guest's kernel is not up yet: what QEMU tells it now is lost.
    assert await guest.want(changed(before, disks=(disk,), spec={"disks": (attach(disk),)}))
    assert await guest.want(changed(before, disks=(disk,), spec={"disks": ()})) == ["unplug-disk"]


async def test_the_guest_says_how_far_it_is(guest: Guest) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await guest.until(Stage.REACHABLE)
        observed = await guest.until(Stage.CONFIGURED)
    assert observed.process is not None
    assert observed.process.outcome is not None
    assert observed.process.outcome.ok
    assert observed.process.outcome.source == "nocloud"
    reader, writer = await asyncio.open_connection("127.0.0.1", observed.process.ssh_port)
    assert (await reader.readline()).startswith(b"SSH-2.0-")
    writer.close()


async def test_the_seed_made_the_guest(guest: Guest) -> None:
    assert await guest.run("cat", "/root/note") == "written by cloud-config"
    assert (await guest.run("hostname")).strip() == "web"
    observed = await guest.host.machines.observe(guest.desired)
    assert observed.process is not None
    scan = await asyncio.create_subprocess_exec(
        "ssh-keyscan", "-t", "ed25519", "-p", str(observed.process.ssh_port), "127.0.0.1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await scan.communicate()
    assert observed.host_key in said.decode()


async def test_a_program_has_its_streams_and_exit_status(guest: Guest) -> None:
    command = GuestCommand(
        ("sh", "-c", "cat; echo $WORD >&2; exit 7"), stdin=b"\0in\xff", environment=("WORD=err", "PATH=/bin")
    )
    result = await guest.host.guests.execute(guest.desired.machine.id, command)
    assert (result.exit_status, result.stdout, result.stderr) == (7, b"\0in\xff", b"err\n")


async def test_a_killed_program_tells_its_signal(guest: Guest) -> None:
    result = await guest.host.guests.execute(guest.desired.machine.id, GuestCommand(("sh", "-c", "kill -9 $$")))
    assert result.exit_status == 128 + 9


async def test_a_program_that_takes_too_long_is_reported_and_others_go_on(guest: Guest) -> None:
    with pytest.raises(TimedOut, match="sleep did not end"):
        await guest.host.guests.execute(guest.desired.machine.id, GuestCommand(("sleep", "100"), timeout_s=1))
    assert await guest.run("echo", "well") == "well\n"


async def test_programs_run_at_the_same_time(guest: Guest) -> None:
    said = await asyncio.gather(*(guest.run("sh", "-c", f"sleep 1; echo {number}") for number in range(3)))
    assert said == ["0\n", "1\n", "2\n"]


async def test_files_go_in_and_out(guest: Guest) -> None:
    content = bytes(range(256)) * 2000

    async def pieces() -> AsyncIterator[bytes]:
        yield content[:1000]
        yield content[1000:]

    machine = guest.desired.machine.id
    await guest.host.files.write(machine, "/root/data", pieces(), 0o640)
    assert b"".join([piece async for piece in guest.host.files.read(machine, "/root/data")]) == content
    assert (await guest.run("stat", "-c", "%a", "/root/data")).strip() == "640"
    with pytest.raises(NotFound, match="/root/nothing"):
        await anext(guest.host.files.read(machine, "/root/nothing"))


async def test_all_who_look_see_the_same_console(guest: Guest) -> None:
    machine = guest.desired.machine.id
    async with guest.host.guests.console(machine) as one, guest.host.guests.console(machine) as two:
        await guest.run("sh", "-c", "echo to-the-console > /dev/console")
        for viewer in (one, two):
            seen = b""
            async with asyncio.timeout(PATIENCE_S):
                while b"to-the-console" not in seen:
                    seen += await viewer.receive()
    async with guest.host.guests.console(machine) as again:
        await again.send(b"\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await again.receive()
    assert b"to-the-console" in await guest.host.guests.log(machine, 4096)


@pytest.mark.parametrize("bus", [Bus.VIRTIO, Bus.SCSI])
async def test_disks_come_grow_and_go(guest: Guest, bus: Bus) -> None:
    disk = a_disk(size_mib=16)
    before = guest.desired
    spec = {"disks": (attach(disk, bus=bus),)}
    assert await guest.want(changed(before, disks=(disk,), spec=spec)) == ["make-disk", "plug-disk"]
    serial = disk.id.replace("-", "")[:20]
    name = await _block_device(guest, serial)
    await _has_sectors(guest, name, 16 * 2048)
    larger = msgspec.structs.replace(disk, size_mib=32)
    spec = {"disks": (attach(larger, bus=bus),)}
    assert await guest.want(changed(before, disks=(larger,), spec=spec)) == ["grow-disk"]
    await _has_sectors(guest, name, 32 * 2048)
    # A disk that has left the machine is still among its disks until the guest has let go of it.
    assert await guest.want(changed(before, disks=(larger,), spec={"disks": ()})) == ["unplug-disk"]
    assert (guest.house.disks / f"{disk.id}.qcow2").stat().st_uid == 0


_UNTIL = "until {}; do sleep 0.1; done"  # the guest's kernel takes its time


async def _block_device(guest: Guest, serial: str) -> str:
    """The disk with this serial number, as the kernel names it."""
    find = f"grep -l {serial} /sys/class/block/*/serial /sys/class/block/*/device/vpd_pg80 2>/dev/null | grep /"
    said = await guest.run("sh", "-c", _UNTIL.format(find))
    return said.split("/")[4]


async def _has_sectors(guest: Guest, name: str, count: int) -> None:
    """The guest's kernel knows that size, soon: a SCSI disk tells that it has grown, and is asked anew."""
    await guest.run("sh", "-c", _UNTIL.format(f"grep -qx {count} /sys/class/block/{name}/size"))


async def test_a_disk_that_is_to_leave_does_so_although_its_plug_was_broken_off(guest: Guest) -> None:
    disk, before = a_disk(size_mib=16), guest.desired
    await guest.want(changed(before, disks=(disk,), spec={"disks": (attach(disk),)}))
    run = await guest.host.runs.find(before.machine.id)
    assert run is not None
    # As a daemon leaves it that was killed when QEMU had the disk, and before it wrote that down.
    run.remember(msgspec.structs.replace(run.record, spec=msgspec.structs.replace(run.record.spec, disks=())))
    assert await guest.want(replace(before, leaving=(disk,))) == ["remove-disk"]
    assert not (guest.house.disks / f"{disk.id}.qcow2").exists()
    # What QEMU no longer has can be plugged anew.
    assert await guest.want(changed(before, disks=(disk,), spec={"disks": (attach(disk),)})) == [
        "make-disk",
        "plug-disk",
    ]


async def test_nics_come_and_go_and_ports_move(guest: Guest) -> None:
    before = guest.desired
    second = NicSpec(mac="52:54:00:00:00:02", forwards=(Forward(guest_port=80),))
    nics = (*before.machine.spec.nics, second)
    assert await guest.want(changed(before, spec={"nics": nics})) == ["plug-nic", "set-forwards"]
    await guest.run("sh", "-c", _UNTIL.format(f"grep -q {second.mac} /sys/class/net/*/address"))
    observed = await guest.host.machines.observe(guest.desired)
    assert observed.process is not None
    assert {forward.guest_port for forward in observed.process.forwards} == {22, 80}
    assert await guest.want(before) == ["unplug-nic"]


async def test_a_taken_port_is_a_conflict_that_names_who_has_it(guest: Guest) -> None:
    before = guest.desired
    port = a_port()
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port):
        nic = NicSpec(mac=MAC, forwards=(Forward(guest_port=22), Forward(guest_port=80, host_port=port)))
        with pytest.raises(Conflict, match=rf"port {port}/tcp of the host is taken: by {_OURS}, process \d+") as caught:
            await guest.want(changed(before, spec={"nics": (nic,)}))
        assert caught.value.field == "forwards"
    await guest.want(changed(before, spec={"nics": (nic,)}))


async def test_memory_moves_live(guest: Guest) -> None:
    before = guest.desired
    assert await guest.want(changed(before, spec={"memory_mib": 160})) == ["set-memory"]
    assert await guest.want(before) == ["set-memory"]


async def test_pause_and_resume(guest: Guest) -> None:
    before = guest.desired
    assert await guest.want(changed(before, power=Power.PAUSED)) == ["pause"]
    assert await guest.want(before) == ["resume"]


async def test_a_paused_guest_does_not_let_go_of_a_disk(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guesthouse.host.machines.plugging._UNPLUG_TIMEOUT_S", 1.0)
    before, disk = guest.desired, a_disk()
    spec = {"disks": (attach(disk),)}
    paused = changed(before, disks=(disk,), spec=spec, power=Power.PAUSED)
    assert await guest.want(paused) == ["make-disk", "plug-disk", "pause"]
    without = changed(paused, spec={"disks": ()})
    with pytest.raises(TimedOut, match="does not let go of disk data; it stays attached"):
        await guest.want(without)
    observed = await guest.host.machines.observe(without)
    assert observed.process is not None
    assert [has.disk for has in observed.process.spec.disks] == [disk.id]
    await guest.want(changed(paused, power=Power.RUNNING))
    monkeypatch.undo()
    assert await guest.want(changed(before, disks=(disk,), spec={"disks": ()})) == ["unplug-disk"]


async def test_a_guest_that_does_not_report_is_looked_at_from_outside(guest: Guest, tmp_path: Path) -> None:
    run = await guest.host.runs.find(guest.desired.machine.id)
    assert run is not None
    told = asyncio.Event()
    with_agent = Stages(Folder(tmp_path), 1.0, lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        await Looker(run.folder, with_agent, run.agent, run.agent_listens, lambda: run.ssh_servers).look(0)
    assert (with_agent.stage, with_agent.outcome) == (Stage.CONFIGURED, Outcome(ok=True, source="nocloud"))
    # Without an agent there is the banner of its SSH server, and no word about cloud-init.
    without = Stages(Folder(tmp_path), 2.0, told.set)
    looking = asyncio.create_task(
        Looker(run.folder, without, run.agent, asyncio.Event(), lambda: run.ssh_servers).look(0)
    )
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()
    assert without.stage is Stage.REACHABLE
    looking.cancel()


async def test_a_reboot_begins_the_stages_again(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await guest.host.runs.find(guest.desired.machine.id)
    assert run is not None
    stages, reach = [], run.stages.reach

    def spy(stage: Stage, *outcome: Outcome | None, **reports: bool) -> None:
        stages.append(stage)
        reach(stage, *outcome, **reports)

    boot = await guest.run("cat", "/proc/sys/kernel/random/boot_id")
    monkeypatch.setattr(run.stages, "reach", spy)
    # The program never ends for us: the agent that would tell is gone with the reboot.
    with pytest.raises(Conflict, match="does not answer"):
        await guest.run("sh", "-c", "reboot -f; sleep 1000000")
    await until(guest.host, guest.desired, lambda _: Stage.CONFIGURED in stages)
    assert list(dict.fromkeys(stages)) == [Stage.RUNNING, Stage.REACHABLE, Stage.CONFIGURED]
    assert await guest.run("cat", "/proc/sys/kernel/random/boot_id") != boot


async def test_a_guest_shuts_down_when_asked_and_keeps_its_logs(guest: Guest) -> None:
    machine = guest.desired.machine.id
    async with guest.host.guests.console(machine) as viewer:
        assert await guest.want(changed(guest.desired, power=Power.STOPPED)) == ["shutdown"]
        async with asyncio.timeout(PATIENCE_S):
            while await viewer.receive():
                pass
    folder = folder_of(guest.house, guest.desired)
    assert not any(folder.socket(name).exists() for name in ("qmp", "console", "agent", "report"))
    assert b"to-the-console" in await guest.host.guests.log(machine, 1 << 20)
    with pytest.raises(Conflict):
        async with guest.host.guests.console(machine):
            raise AssertionError("there is no console")
    with pytest.raises(Conflict):
        await guest.run("true")


async def test_the_next_start_has_the_same_port(guest: Guest) -> None:
    ports = []
    for power in (Power.PAUSED, Power.STOPPED, Power.PAUSED):
        await guest.want(changed(guest.desired, power=power, stop_timeout_s=0))
        observed = await guest.host.machines.observe(guest.desired)
        ports.append(observed.process.ssh_port if observed.process else None)
    assert ports[0] == ports[2]


async def test_a_guest_that_does_not_listen_is_ended_after_its_time(guest: Guest) -> None:
    # It stands in its firmware: nobody hears the power button.
    await guest.want(changed(guest.desired, power=Power.RUNNING, restart_epoch=7, stop_timeout_s=0))
    assert await guest.want(changed(guest.desired, power=Power.STOPPED, stop_timeout_s=1)) == ["shutdown"]
