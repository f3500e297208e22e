"""Forks of one frozen Debian: machines that were never booted, each as a first boot would have made it.

A second of theirs is long on an emulated processor: few are made, and tests look at what they said.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
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

COUNT = 2
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
_FAILING = """#cloud-config
runcmds: [never]
write_files: {path: /srv/x}
runcmd:
  - echo it went wrong
  - exit 7
"""
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
# What a reboot changes nothing of, and what a fork is asked that has another beside it.
_STAYS = {
    **{what: _OWN[what] for what in ("machine-id", "hostname", "host key", "cloud-init's instance")},
    "state": _SAID["state"],
}
_SHARED = ("random at first", "random seed", "cloud-init's instance")
_BESIDE = {
    **{what: question for what, question in _OWN.items() if what not in _SHARED},
    **{what: _SAID[what] for what in ("name on disk", "state", "network", "address", "greeting")},
    "server": "bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -c 20 <&3'",
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


@dataclass
class Life:
    """What a fork said of itself before it rebooted and after, of both its boots, and what its own fork said."""

    before: dict[str, str]
    after: dict[str, str]
    boots: list[str]
    mine: dict[str, str]
    childs: dict[str, str]
    child_id: str


@pytest.fixture(scope="module")
def told(debian_shelf: Shelf) -> tuple[list[Fork], Life]:
    """All forks there at once; each stands still when it has said what is asked, for the next to have the box.

    The first has had a life by then: it was forked, and has rebooted.
    """

    async def run() -> tuple[list[Fork], Life]:
        async with open_host(debian_shelf.house) as host, AsyncExitStack() as stack:
            guests = [_configured(debian_shelf, host, f"d{number}", number) for number in range(COUNT)]
            first = await stack.enter_async_context(guests[0])
            forks, life = [await _asked(first)], await _lived(first)
            await _stand_still(first)
            for each in guests[1:]:
                guest = await stack.enter_async_context(each)
                forks.append(await _asked(guest))
                await _stand_still(guest)
            return forks, life

    return asyncio.run(run())


@pytest.fixture(scope="module")
def forks(told: tuple[list[Fork], Life]) -> list[Fork]:
    return told[0]


async def _asked(guest: Guest) -> Fork:
    early = time.time()
    said = await _said(guest, {**_OWN, **_SAID})
    late = time.time()
    observed = await guest.host.machines.observe(guest.desired)
    assert observed.process is not None
    machine_id = guest.desired.machine.id.replace("-", "")
    return Fork(guest.desired.machine.name, machine_id, observed.process.outcome, said, early, late)


async def _lived(guest: Guest) -> Life:
    """Fork it, and reboot it."""
    async with forked(Timeline(guest), "another") as (child,):
        mine, childs = [await _said(each, _BESIDE) for each in (guest, child.guest)]
    before = await _said(guest, _STAYS)
    run = await guest.host.runs.find(guest.desired.machine.id)
    assert run is not None
    rebooted = asyncio.ensure_future(run.stages.rebooted.wait())
    # The program never ends for us: the agent that would tell is gone with the reboot.
    with pytest.raises(GuesthouseError):
        await guest.run("sh", "-c", "systemctl reboot; sleep 1000000")
    await asyncio.wait_for(rebooted, PATIENCE_S)
    await guest.until(Stage.CONFIGURED)
    family = await guest.run("sh", "-c", "cat /sys/class/dmi/id/product_family; ls -d /run/guesthouse/* || true")
    child_id = child.guest.desired.machine.id.replace("-", "")
    return Life(before, await _said(guest, _STAYS), family.split(), mine, childs, child_id)


async def _said(guest: Guest, questions: Mapping[str, str]) -> dict[str, str]:
    """The answers to all questions, at once: a program's start in a guest takes a moment."""
    script = "".join(f"{question}; printf '\\001'\n" for question in questions.values())
    answers = [answer.strip() for answer in (await guest.run("sh", "-c", script)).split(_SEPARATOR)]
    return dict(zip(questions, answers[:-1], strict=True))


async def _stand_still(guest: Guest) -> None:
    assert "pause" in await guest.want(changed(guest.desired, power=Power.PAUSED))


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


async def _outcome(shelf: Shelf, number: int, user_data: str) -> Outcome:
    """What a fork reports that was told this."""
    desired = changed(_desired(shelf, f"d{number}", number), spec={"user_data": user_data})
    async with open_host(shelf.house) as host, configured(shelf, host, desired) as guest:
        observed = await host.machines.observe(guest.desired)
        assert observed.process is not None
        assert observed.process.outcome is not None
        return observed.process.outcome


async def test_broken_user_data_is_reported(debian_shelf: Shelf) -> None:
    outcome = await _outcome(debian_shelf, COUNT + 2, "#cloud-config\nhostname: [web\n")
    assert (outcome.ok, {failure.module for failure in outcome.failures}) == (False, {"user_data"})


async def test_a_failing_command_and_what_cloud_init_swallows_are_reported(debian_shelf: Shelf) -> None:
    outcome = await _outcome(debian_shelf, COUNT + 3, _FAILING)
    assert (outcome.ok, outcome.source) == (False, "nocloud")
    said = [(failure.module, failure.message) for failure in outcome.failures]
    assert ("runcmd", "exit status 7") in said
    assert ("user_data", "unknown key 'runcmds': cloud-init ignores it") in said
    assert [module for module, message in said if "is not of type 'array'" in message] == ["write_files"]
    assert "it went wrong" in outcome.log


def test_a_fork_that_reboots_stays_who_it_is(told: tuple[list[Fork], Life]) -> None:
    _, life = told
    assert life.before["state"] == "running"
    assert all(life.before.values())
    assert life.after == life.before
    assert life.boots == ["/run/guesthouse/stages"]


def test_a_fork_that_is_forked_while_it_runs_has_another_beside_it(told: tuple[list[Fork], Life]) -> None:
    (fork, *_), life = told
    for what in set(_OWN) & set(_BESIDE):
        assert life.mine[what], what
        assert not set(life.mine[what].splitlines()) & set(life.childs[what].splitlines()), what
    assert life.childs["name on disk"].split() == ["another", fork.name]
    assert life.childs["machine-id"] == life.child_id
    for what in ("state", "network", "address", "greeting"):
        assert life.childs[what] == life.mine[what], what
    assert "OpenSSH" in life.childs["server"]
