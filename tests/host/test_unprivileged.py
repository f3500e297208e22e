"""The same machines for a daemon that is root and for one that is nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.host.boxes import a_disk, a_host, a_house, changed, converge, folder_of, is_alive, qemus, wanted
from tests.host.children import become_nobody, run_as

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.local import LocalHost, open_host
from guesthouse.model.errors import Failed
from guesthouse.model.house import House
from guesthouse.model.machine import Deleting, Power

pytestmark = pytest.mark.vm


async def _a_life(house: House) -> None:
    """A machine with a disk and a screen is made, started, adopted, stopped and removed."""
    disk = a_disk()
    desired = wanted(disks=(disk,), screen=True)
    async with open_host(house) as host:
        observed, steps = await converge(host, desired)
        assert steps == ["make-disk", "write-seed", "start"]
        assert observed.process is not None
        assert Path(observed.process.screen).is_socket()
        _check_owners(house, desired, observed.process.pid)
    async with open_host(house) as host:
        _, steps = await converge(host, changed(desired, power=Power.STOPPED, stop_timeout_s=0))
        assert steps == ["kill"]
        assert (house.disks / f"{disk.id}.qcow2").stat().st_uid == os.geteuid()
        _, steps = await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))
        assert steps == ["remove-disk", "remove-folder"]
    assert list(house.disks.iterdir()) == []
    assert list(house.machines.iterdir()) == []


def _check_owners(house: House, desired: Desired, pid: int) -> None:
    folder = folder_of(house, desired)
    number = identity.machine_number(folder.path)
    owner = os.geteuid() if number is None else number
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split() == [str(owner)] * 4
    assert status["NoNewPrivs"].strip() == "1"
    (disk,) = desired.disks
    facts = (house.disks / f"{disk.id}.qcow2").stat()
    assert (facts.st_uid, facts.st_mode & 0o777) == (owner, 0o600)
    assert folder.path.stat().st_uid == os.geteuid()
    assert folder.path.stat().st_mode & 0o027 == 0
    for name in ("qmp", "console", "agent", "report"):
        facts = folder.socket(name).stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (os.geteuid(), 0o600)


async def test_a_machine_of_this_user() -> None:
    with a_house() as house:
        await _a_life(house)


def test_a_machine_of_nobody() -> None:
    with a_house() as house:
        if os.geteuid() == 0:
            os.chown(house.home, 65534, 65534)
        run_as(become_nobody, lambda: _a_life(house))


async def test_machines_are_strangers_to_each_other() -> None:
    async with a_host() as (house, host):
        numbers = {await _number(house, host, wanted()) for _ in range(2)}
        assert numbers == {None} or (len(numbers) == 2 and None not in numbers)


async def _number(house: House, host: LocalHost, desired: Desired) -> int | None:
    await converge(host, changed(desired, power=Power.PAUSED))
    return identity.machine_number(folder_of(house, desired).path)


async def test_a_house_behind_a_closed_folder_is_refused_before_anything_runs() -> None:
    with a_house() as outer:
        closed = outer.home / "closed"
        closed.mkdir(mode=0o700)
        house = House(closed / "house", closed / "house")
        async with open_host(house) as host:
            desired = wanted()
            if identity.can_confine():
                with pytest.raises(Failed, match=r"cannot pass through .*/closed") as caught:
                    await converge(host, desired)
                assert caught.value.hint.startswith(f"`chmod o+x {closed}`")
                assert not is_alive(house, desired)
                assert qemus(house) == []
            else:
                await converge(host, desired)


@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize("project", [7, 8])
def test_images_are_read_by_their_project_or_by_all(public: bool, project: int) -> None:
    """Project 7 owns the image; where machines have no users of their own, all belong to the daemon's."""
    with a_house() as house:
        identity.open_house(house)
        folder = house.images / "image"
        folder.mkdir(mode=0o700)
        (folder / "disk.qcow2").write_text("content")
        identity.share_image(folder, public=public, project_number=7)

        def become_a_machine() -> None:
            if identity.can_confine():
                os.setgroups([identity.project_group(project)])
                os.setresgid(*[identity.MACHINES.start] * 3)
                os.setresuid(*[identity.MACHINES.start] * 3)

        async def read() -> None:
            if public or project == 7 or os.geteuid() not in identity.MACHINES:
                assert (folder / "disk.qcow2").read_text() == "content"
            else:
                with pytest.raises(PermissionError):
                    (folder / "disk.qcow2").read_text()
            if os.geteuid() in identity.MACHINES:
                with pytest.raises(PermissionError):
                    (folder / "disk.qcow2").write_text("mine")

        run_as(become_a_machine, read)
