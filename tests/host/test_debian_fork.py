"""Forks of one frozen Debian: three machines that were never booted, each as a first boot would have made it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import pytest
from tests.host.boxes import a_disk, a_house, changed, until
from tests.host.guests import Guest
from tests.host.shelves import Shelf, configured, is_fork, launched, stock
from tests.host.test_machine_forks import forked
from tests.host.timelines import Timeline
from tests.patience import PATIENCE_S

from guesthouse.decide.plan import Desired
from guesthouse.host.images import debian
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import LocalHost, open_host
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.machine import Bus, NicSpec, Outcome, Power, Stage

pytestmark = pytest.mark.vm

COUNT = 3
_MEMORY_MIB = 512
_LARGER_MIB = 3072
_RANDOM = (
    "od -An -v -tx1 -w64 -N64 /dev/urandom",
    "cat /proc/sys/kernel/random/uuid",
    "mktemp -u",
    "python3 -I -S -c 'import os; print(os.urandom(16))'",
)
_USER_DATA = "#cloud-config\n" + json.dumps(
    {
        "bootcmd": [f"{command} >>/run/first-moments" for command in _RANDOM],
        "users": ["default", {"name": "deploy"}],
        "write_files": [{"path": "/srv/greeting", "content": "hello", "owner": "deploy", "defer": True}],
        "runcmd": ["hostname >/srv/ran"],
    }
)
# What no two machines may have in common.
_OWN = {
    "machine-id": "cat /etc/machine-id",
    "hostname": "hostname",
    "host key": "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
    "random at first": "cat /run/first-moments",
    "random": "; ".join(_RANDOM),
    "random seed": "od -An -v -tx1 -w64 /var/lib/systemd/random-seed",
    "client of the DHCP server": "grep ^CLIENTID= /run/systemd/netif/leases/*",
    "MAC address": "cat /sys/class/net/enp*/address",
    "cloud-init's instance": "readlink /var/lib/cloud/instance",
}
_SAID = {
    "state": "systemctl is-system-running --wait; systemctl --failed --no-legend",
    "journals": "ls /var/log/journal /run/log/journal | grep -v :",
    "machine-id on the bus": "; ".join(
        f"busctl call org.freedesktop.{name} / org.freedesktop.DBus.Peer GetMachineId"
        for name in ("systemd1", "login1", "resolve1", "network1", "DBus")
    ),
    "name on disk": "cat /etc/hostname /srv/ran",
    "greeting": "stat -c %U /srv/greeting; cat /srv/greeting; echo",
    "user": "id -un debian",
    "network": "networkctl status enp1s0 | grep -o ' State: .*'",
    "NICs": "cd /sys/class/net; grep -H . enp*/address",
    "address": "ip -4 -o address show dev enp1s0 | grep -o 10.0.2.15/24",
    "root": "df --output=size -B 1M / | tail -1",
    "clock": "date +%s",
}
_SEPARATOR = "\x01"


@dataclass
class Fork:
    """What a fork said when it was configured; `early` and `late` are the host's time before and after."""

    name: str
    machine_id: str
    outcome: Outcome | None
    said: dict[str, str]
    early: float
    late: float


@pytest.fixture(scope="module")
def debian_shelf(debian_image: BuiltImage) -> Iterator[Shelf]:
    with a_house() as house:
        yield asyncio.run(stock(house, debian_image, _MEMORY_MIB, virtual_mib=debian.DISK_MIB))


@pytest.fixture(scope="module")
def forks(debian_shelf: Shelf) -> list[Fork]:
    """All there at once; each stands still when it has said what is asked, for the next to have the box."""

    async def run() -> list[Fork]:
        async with open_host(debian_shelf.house) as host, AsyncExitStack() as stack:
            return [await _forked(debian_shelf, host, stack, number) for number in range(COUNT)]

    return asyncio.run(run())


async def _forked(shelf: Shelf, host: LocalHost, stack: AsyncExitStack, number: int) -> Fork:
    name = f"d{number}"
    guest = await stack.enter_async_context(_configured(shelf, host, name, number))
    early = time.time()
    questions = {**_OWN, **_SAID}
    script = "".join(f"{question}; printf '\\001'\n" for question in questions.values())
    answers = [answer.strip() for answer in (await guest.run("sh", "-c", script)).split(_SEPARATOR)]
    late = time.time()
    observed = await host.machines.observe(guest.desired)
    assert observed.process is not None
    assert await guest.want(changed(guest.desired, power=Power.PAUSED)) == ["pause"]
    machine_id = guest.desired.machine.id.replace("-", "")
    return Fork(
        name, machine_id, observed.process.outcome, dict(zip(questions, answers[:-1], strict=True)), early, late
    )


def _configured(shelf: Shelf, host: LocalHost, name: str, number: int) -> AbstractAsyncContextManager[Guest]:
    """A fork that is configured; the last one has a larger disk than the template, and three NICs."""
    last = number == COUNT - 1
    return configured(
        shelf, host, _desired(shelf, name, number, _LARGER_MIB if last else debian.DISK_MIB, 1 + 2 * last)
    )


def _desired(shelf: Shelf, name: str, number: int, size_mib: int = debian.DISK_MIB, nics: int = 1) -> Desired:
    root = a_disk(size_mib, name=f"{name}-root", image=shelf.image.id, template=shelf.template.id)
    return shelf.fork(
        name,
        disks=((root, Bus.VIRTIO),),
        memory_mib=_MEMORY_MIB,
        nics=_nics(number)[:nics],
        user_data=_USER_DATA,
    )


def _nics(number: int) -> tuple[NicSpec, ...]:
    """Those that a fork may have; their order is not that of their addresses."""
    return tuple(NicSpec(mac=f"52:54:00:00:{place:02x}:{number:02x}") for place in (4, 3, 5))


def test_every_fork_is_configured_as_its_user_data_says(forks: list[Fork]) -> None:
    for fork in forks:
        assert fork.outcome == Outcome(ok=True, source="nocloud")
        assert fork.said["hostname"] == fork.name
        assert fork.said["name on disk"].split() == [fork.name] * 2
        assert fork.said["greeting"].split() == ["deploy", "hello"]
        assert fork.said["user"] == "debian"
        assert fork.said["network"] == "State: routable (configured)"
        assert fork.said["address"] == "10.0.2.15/24"


def test_no_two_forks_have_anything_of_their_own_in_common(forks: list[Fork]) -> None:
    for what in _OWN:
        values = [line for fork in forks for line in fork.said[what].splitlines()]
        assert len(values) >= COUNT, what
        assert len(set(values)) == len(values), what
    for what in ("random at first", "random"):
        assert [len(fork.said[what].splitlines()) for fork in forks] == [len(_RANDOM)] * COUNT


def test_the_machine_id_is_that_of_a_first_boot_and_everybody_knows_it(forks: list[Fork]) -> None:
    for fork in forks:
        assert fork.said["machine-id"] == fork.machine_id
        assert set(fork.said["machine-id on the bus"].splitlines()) == {f's "{fork.machine_id}"'}
        assert fork.said["journals"] == fork.machine_id


def test_the_clock_is_right(debian_shelf: Shelf, forks: list[Fork]) -> None:
    """It tells whole seconds at a boot, so that a second's half is what it may be wrong by."""
    for fork in forks:
        assert fork.early - 2 < float(fork.said["clock"]) < fork.late + 1
    # The last would fail if its clock had gone on from the template's.
    assert forks[-1].early - debian_shelf.folder.facts.stat().st_mtime > 60


def test_nothing_failed(forks: list[Fork]) -> None:
    assert [fork.said["state"] for fork in forks] == ["running"] * COUNT


def test_the_root_file_system_is_as_large_as_its_disk(forks: list[Fork]) -> None:
    *plain, larger = (int(fork.said["root"]) for fork in forks)
    assert max(plain) < debian.DISK_MIB < larger


def test_nics_are_named_in_the_order_of_the_description(forks: list[Fork]) -> None:
    named = [f"enp{place}s0/address:{nic.mac}" for place, nic in enumerate(_nics(COUNT - 1), 1)]
    assert forks[-1].said["NICs"].splitlines() == named
    assert forks[0].said["NICs"].splitlines() == [f"enp1s0/address:{_nics(0)[0].mac}"]


async def test_a_fork_that_ends_at_its_gate_boots_as_a_machine_of_its_own(debian_shelf: Shelf) -> None:
    async with open_host(debian_shelf.house) as host:
        desired = _desired(debian_shelf, "ended", COUNT + 1)
        async with launched(debian_shelf.house, host, desired) as (guest, observed):
            assert is_fork(observed)
            assert observed.process is not None
            os.kill(observed.process.pid, signal.SIGKILL)
            await until(host, desired, lambda seen: seen.process is None)
            assert "start" in await guest.want(changed(desired, restart_epoch=1))
            assert not is_fork(await guest.until(Stage.CONFIGURED))
            script = "; ".join((_OWN["machine-id"], "hostname", _SAID["greeting"], _SAID["state"]))
            said = (await guest.run("sh", "-c", script)).split()
            assert said == [desired.machine.id.replace("-", ""), "ended", "deploy", "hello", "running"]


async def test_broken_user_data_is_reported(debian_shelf: Shelf) -> None:
    broken = changed(_desired(debian_shelf, "broken", COUNT + 2), spec={"user_data": "#cloud-config\nhostname: [web\n"})
    async with open_host(debian_shelf.house) as host, configured(debian_shelf, host, broken) as guest:
        observed = await host.machines.observe(guest.desired)
        assert observed.process is not None
        outcome = observed.process.outcome
        assert outcome is not None
        assert (outcome.ok, {failure.module for failure in outcome.failures}) == (False, {"user_data"})


async def test_a_fork_that_is_forked_or_reboots_stays_who_it_is(debian_shelf: Shelf) -> None:
    questions = ("machine-id", "hostname", "host key", "cloud-init's instance")
    script = "\n".join([*(_OWN[question] for question in questions), _SAID["state"]])
    async with open_host(debian_shelf.house) as host, _configured(debian_shelf, host, "again", COUNT) as guest:
        async with forked(Timeline(guest), "another") as (child,):
            await _is_another(child, guest)
        before = (await guest.run("sh", "-c", script)).splitlines()
        assert before[-1] == "running"
        run = await host.runs.find(guest.desired.machine.id)
        assert run is not None
        rebooted = asyncio.ensure_future(run.stages.rebooted.wait())
        # The program never ends for us: the agent that would tell is gone with the reboot.
        with pytest.raises(GuesthouseError):
            await guest.run("sh", "-c", "systemctl reboot; sleep 1000000")
        await asyncio.wait_for(rebooted, PATIENCE_S)
        await guest.until(Stage.CONFIGURED)
        assert (await guest.run("sh", "-c", script)).splitlines() == before
        family = await guest.run("sh", "-c", "cat /sys/class/dmi/id/product_family; ls -d /run/guesthouse/* || true")
        assert family.split() == ["/run/guesthouse/stages"]


async def _is_another(child: Timeline, guest: Guest) -> None:
    """A machine that was forked while it ran, and its fork."""
    shared = ("random at first", "random seed", "cloud-init's instance")
    for what in _OWN.keys() - set(shared):
        mine, its = await child.shell(_OWN[what]), await guest.run("sh", "-c", _OWN[what])
        assert mine, what
        assert not set(mine.splitlines()) & set(its.splitlines()), what
    assert await child.shell("cat /etc/hostname /srv/ran") == "another\nagain\n"
    assert (await child.shell(_OWN["machine-id"])).strip() == child.guest.desired.machine.id.replace("-", "")
    for what in ("state", "network", "address", "greeting"):
        assert await child.shell(_SAID[what]) == await guest.run("sh", "-c", _SAID[what]), what
    assert "OpenSSH" in await child.shell("bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -c 20 <&3'")
