"""Starting real QEMUs: killed daemons, failures, adoption. The machines stop in their BIOS: no guest is needed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.host.boxes import (
    QEMU,
    a_daemon,
    a_disk,
    a_host,
    a_house,
    changed,
    converge,
    folder_of,
    is_alive,
    new_id,
    qemus,
    silent,
    until,
    wanted,
)
from tests.patience import PATIENCE_S

from guesthouse.decide.steps import Kill, Start
from guesthouse.host import identity
from guesthouse.host.local import open_host
from guesthouse.host.machines import process, runs
from guesthouse.host.machines.observe import UNRESPONSIVE
from guesthouse.host.machines.starting import POINTS
from guesthouse.model.errors import ChildFailed, Failed
from guesthouse.model.house import House
from guesthouse.model.machine import Deleting, Firmware, Power
from guesthouse.model.resources import Image

pytestmark = pytest.mark.vm
SPAWNED = POINTS.index("spawned")


@pytest.mark.parametrize("point", POINTS)
async def test_a_daemon_killed_while_starting_leaves_no_qemu_or_one_that_is_found(point: str) -> None:
    desired = wanted()
    with a_house() as house:
        async with a_daemon(house, desired, point):
            pass
        async with open_host(house) as host:
            observed = await host.machines.observe(desired)
            assert (observed.process is not None) == (POINTS.index(point) >= SPAWNED)
            await host.machines.perform(Start(), desired, silent)
            await host.machines.perform(Start(), desired, silent)
            observed = await host.machines.observe(desired)
            assert observed.process is not None
            assert qemus(house) == [observed.process.pid]
            await host.machines.perform(Kill(), desired, silent)
            assert (await host.machines.observe(desired)).process is None
            assert qemus(house) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a QEMU that will never answer."""
    monkeypatch.setattr(runs, "_GREETING_TIMEOUT_S", 0.5)
    monkeypatch.setattr(runs, "_END_TIMEOUT_S", 1)


@contextmanager
def an_unborn_qemu() -> Iterator[tuple[House, str, Path]]:
    """A house, a QEMU that is born only when something is written to a gate, and the gate."""
    with a_house() as house:
        gate, slow = house.home / "gate", house.home / "slow-qemu"
        os.mkfifo(gate)
        gate.chmod(0o666)
        slow.write_text(f'#!/bin/sh\ncase "$*" in *-pidfile*) read go < {gate};; esac\nexec {QEMU} "$@"\n')
        slow.chmod(0o755)
        yield house, str(slow), gate


async def test_a_daemon_killed_between_fork_and_exec_leaves_a_qemu_that_is_not_started_twice(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = wanted()
    with an_unborn_qemu() as (house, slow, gate):
        async with a_daemon(house, desired, "spawned", slow):
            pass
        async with open_host(house) as host:
            unborn = await host.machines.observe(desired)
            assert unborn.process is not None
            assert (unborn.process.runstate, unborn.process.pid) == (UNRESPONSIVE, 0)
            monkeypatch.setattr(runs, "_GREETING_TIMEOUT_S", PATIENCE_S)
            await asyncio.to_thread(gate.write_text, "go\n")
            born = await host.machines.observe(desired)
            assert born.process is not None
            assert born.process.runstate == "prelaunch"
            await host.machines.perform(Start(), desired, silent)
            assert qemus(house) == [born.process.pid]


async def test_a_qemu_that_is_not_born_yet_can_be_killed(impatient: None) -> None:
    desired = wanted()
    with an_unborn_qemu() as (house, slow, _):
        async with a_daemon(house, desired, "spawned", slow):
            pass
        async with open_host(house) as host:
            assert is_alive(house, desired)
            await host.machines.perform(Kill(), desired, silent)
            assert not is_alive(house, desired)
            assert (await host.machines.observe(desired)).process is None


async def test_a_qemu_that_hides_from_its_pidfile_can_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_END_TIMEOUT_S", 1)
    desired = wanted()
    with a_house() as house:
        async with open_host(house) as host:
            await converge(host, desired)
        # As if it had given its own lock away.
        folder_of(house, desired).pidfile.unlink()
        async with open_host(house) as host:
            hidden = await host.machines.observe(desired)
            assert hidden.process is not None
            assert hidden.process.pid == 0
            await host.machines.perform(Kill(), desired, silent)
        assert qemus(house) == []


@pytest.mark.parametrize("point", POINTS)
async def test_who_looks_for_a_qemu_that_is_being_started_finds_it_whole(point: str) -> None:
    """Its monitor talks to one at a time: who came first would keep it from whoever starts it."""
    looking: list[asyncio.Task[object]] = []
    desired = wanted()
    with a_house() as house:

        def look(reached: str) -> None:
            if reached == point:
                looking.append(asyncio.ensure_future(host.runs.find(desired.machine.id)))

        async with open_host(house, reached=look) as host:
            await converge(host, desired)
            (found,) = await asyncio.gather(*looking)
            assert found is await host.runs.find(desired.machine.id) is not None
            await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))


async def test_another_daemon_adopts_what_runs_and_ends_it() -> None:
    desired = wanted()
    with a_house() as house:
        async with a_daemon(house, desired, "after") as daemon:
            os.kill(daemon, signal.SIGKILL)
        assert is_alive(house, desired)
        async with open_host(house) as host:
            observed, steps = await converge(host, changed(desired, power=Power.RUNNING))
            assert steps == ["resume"]
            assert observed.process is not None
            assert observed.process.spec == desired.machine.spec
        assert is_alive(house, desired)
        async with open_host(house) as host:
            gone = changed(desired, deleting=Deleting.WITH_DISKS)
            observed, steps = await converge(host, gone)
            assert steps == ["kill", "remove-folder"]
            assert (observed.process, observed.folder) == (None, False)
        assert list(house.machines.iterdir()) == []


async def test_the_end_of_a_qemu_is_told_at_once() -> None:
    async with a_host() as (_, host):
        desired = wanted()
        observed, _ = await converge(host, desired)
        assert observed.process is not None
        news = host.machines.follow()
        os.kill(observed.process.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(news) == desired.machine.id
        assert (await host.machines.observe(desired)).process is None


async def test_a_stopped_qemu_is_unresponsive_and_can_be_killed(request: pytest.FixtureRequest) -> None:
    desired = wanted()
    with a_house() as house:
        async with open_host(house) as host:
            observed, _ = await converge(host, desired)
            assert observed.process is not None
        os.kill(observed.process.pid, signal.SIGSTOP)
        request.getfixturevalue("impatient")
        async with open_host(house) as host:
            hung = await host.machines.observe(desired)
            assert hung.process is not None
            assert (hung.process.runstate, hung.process.pid) == (UNRESPONSIVE, observed.process.pid)
            await host.machines.perform(Kill(), desired, silent)
            assert (await host.machines.observe(desired)).process is None
        assert qemus(house) == []


async def test_a_qemu_that_ends_while_starting_shows_its_command_and_last_words() -> None:
    async with a_host() as (house, host):
        disk = a_disk()
        desired = wanted(disks=(disk,))
        (house.disks / f"{disk.id}.qcow2").write_bytes(b"QFI\xfb" + bytes(3) + b"\x03" + bytes(500))
        with pytest.raises(ChildFailed) as caught:
            await host.machines.perform(Start(), desired, silent)
        assert caught.value.argv[0] == QEMU
        assert "qcow2" in str(caught.value)
        assert not is_alive(house, desired)
        assert (await host.machines.observe(desired)).process is None


async def test_a_vanished_image_is_named() -> None:
    async with a_host() as (_, host):
        image = Image(id=new_id(), project="p", name="lost", kernel="kernel", initrd="initrd")
        desired = wanted(image=image)
        with pytest.raises(Failed, match=r"image lost is gone: .*/kernel"):
            await host.machines.perform(Start(), desired, silent)


async def test_a_pid_that_was_given_to_another_process_is_no_machine() -> None:
    async with a_host() as (house, host):
        desired = wanted(power=Power.STOPPED)
        observed, _ = await converge(host, changed(desired, power=Power.PAUSED))
        assert observed.process is not None
        os.kill(observed.process.pid, signal.SIGKILL)
        await until(host, desired, lambda seen: seen.process is None)
        stranger = subprocess.Popen(["sleep", "1000"])
        try:
            folder_of(house, desired).pidfile.write_text(f"{stranger.pid}\n")
            assert process.find(folder_of(house, desired).pidfile) is None
            assert (await host.machines.observe(desired)).process is None
            await host.machines.perform(Kill(), desired, silent)
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


async def test_a_deep_house_has_sockets_all_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    with a_house() as outer:
        deep = outer.home / ("d" * 100) / ("e" * 100)
        deep.mkdir(parents=True)
        async with open_host(House(deep, deep)) as host:
            observed, _ = await converge(host, wanted(screen=True))
            assert observed.process is not None
            assert Path(observed.process.screen).is_socket()


async def test_uefi_variables_are_the_machines_own() -> None:
    async with a_host() as (house, host):
        desired = wanted(firmware=Firmware.UEFI)
        await converge(host, desired)
        variables = folder_of(house, desired).variables
        assert variables.stat().st_size == 540672
        number = identity.machine_number(variables.parent)
        assert variables.stat().st_uid == (os.geteuid() if number is None else number)


async def test_a_restart_keeps_the_device_tree() -> None:
    async with a_host() as (house, host):
        first, second = a_disk(name="first"), a_disk(name="second")
        desired = wanted(disks=(first, second))
        await converge(host, desired)
        before = json.loads(folder_of(house, desired).record.read_bytes())["placed"]
        _, steps = await converge(host, changed(desired, restart_epoch=1, stop_timeout_s=0))
        assert steps == ["kill", "start"]
        assert json.loads(folder_of(house, desired).record.read_bytes())["placed"] == before
