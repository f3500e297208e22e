"""Machines on networks: booted, forked, plugged, restored and forked on, each with an address by DHCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.host.boxes import changed, converge
from tests.host.guests import Guest
from tests.host.nets import Made, a_network, ask, left, on_a_host
from tests.host.shelves import Shelf, configured, is_fork
from tests.host.test_machine_forks import forking, settled
from tests.host.timelines import Timeline, taken

from guesthouse.decide.observed import Desired
from guesthouse.host.local import LocalHost, open_host
from guesthouse.host.networks.local import clean
from guesthouse.model.machine import Deleting, Forward, NicSpec, Power, Stage
from guesthouse.model.network import NetworkMode

pytestmark = pytest.mark.vm
SSH = 22


@asynccontextmanager
async def a_host_with(shelf: Shelf, *networks: Made) -> AsyncIterator[LocalHost]:
    """The host, with networks; none of them is left at the end."""
    async with open_host(shelf.house) as host:
        try:
            for made in networks:
                await host.networks.apply(made.wanted)
            yield host
        finally:
            for made in networks:
                await host.networks.remove(made.network)
    assert await clean(shelf.house) == []
    assert left() == []


def on(made: Made, number: int, desired: Desired) -> Desired:
    """The machine with one NIC more, on that network."""
    asked = made.port(number)
    port = msgspec.structs.replace(asked.port, machine=desired.machine.id, name=desired.machine.name)
    made.ports[-1] = msgspec.structs.replace(asked, port=port)
    made.network = msgspec.structs.replace(made.network, generation=made.network.generation + 1)
    nic = NicSpec(mac=port.mac, network=made.network.name, address=port.address)
    others = tuple(each for each in desired.networks if each.network.id != made.network.id)
    wanted = changed(desired, spec={"nics": (*desired.machine.spec.nics, nic)})
    return replace(wanted, networks=(*others, made.wanted))


def forwarded_to(made: Made, desired: Desired, forward: Forward) -> Desired:
    """The machine when a port of the host is to lead to its only NIC, on that network."""
    (asked,) = made.ports
    made.ports[:] = [msgspec.structs.replace(asked, port=msgspec.structs.replace(asked.port, forwards=(forward,)))]
    made.network = msgspec.structs.replace(made.network, generation=made.network.generation + 1)
    return replace(changed(desired), networks=(made.wanted,))


async def address_of(guest: Guest, nic: str = "eth0") -> str:
    said = await guest.run("sh", "-c", f"ip -4 -o address show {nic} | awk '{{print $4}}'")
    return said.strip().partition("/")[0]


async def answers(address: str) -> bool:
    return (await ask(None, address, SSH)).startswith("SSH-2.0-")


def test_a_fork_of_a_template_lives_on_a_network(shelf: Shelf, tmp_path: Path) -> None:
    """And a second NIC comes and goes while it runs; a restart changes nothing of it."""

    async def live() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        other = a_network(2, "other", NetworkMode.HOST_ONLY, "192.168.56.0/24")
        async with a_host_with(shelf, nat, other) as host:
            alone = on(nat, 1, shelf.fork(nics=()))
            async with configured(shelf, host, alone) as guest:
                assert await address_of(guest) == "10.0.0.11"
                assert await answers("10.0.0.11")
                assert [lease.address for lease in host.networks.leases(nat.network)] == ["10.0.0.11"]
                forwarding = forwarded_to(nat, alone, Forward(host_port=2222, guest_port=SSH))
                assert await guest.want(forwarding) == ["apply-networks"]
                assert (await ask(None, "127.0.0.1", 2222)).startswith("SSH-2.0-")
                both = on(other, 1, alone)
                assert await guest.want(both) == ["plug-nic"]
                await guest.run("sh", "-c", "until ip -4 address show eth1 | grep -q inet; do sleep 0.1; done")
                assert await address_of(guest, "eth1") == "192.168.56.11"
                assert await guest.want(changed(alone, generation=9)) == ["unplug-nic"]
                await guest.want(changed(alone, power=Power.STOPPED, stop_timeout_s=0))
                await guest.want(changed(alone, generation=9))
                await guest.until(Stage.CONFIGURED)
                assert await address_of(guest) == "10.0.0.11"

    on_a_host(tmp_path, live)


def test_what_was_on_a_network_goes_back_and_is_forked(shelf: Shelf, tmp_path: Path) -> None:
    async def live() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with a_host_with(shelf, nat) as host, configured(shelf, host, on(nat, 1, shelf.fork(nics=()))) as guest:
            line = Timeline(guest)
            await line.shell("echo before >/run/note")
            snapshot = await line.take(settle=True)
            assert "settle-memory" in await guest.want(guest.desired)
            await line.shell("echo after >/run/note")
            await line.revert(snapshot)
            assert await line.shell("cat /run/note") == "before\n"
            assert await answers("10.0.0.11")
            desired, passing, (fork,) = forking(guest.desired, "web-1")
            await guest.want(desired)
            guest.desired = taken(replace(desired, forks=()), passing)
            bare = changed(fork, spec={"nics": ()})
            fork = replace(on(nat, 2, bare), source=fork.source)
            child = Guest(shelf.house, host, fork)
            try:
                await converge(host, fork)
                child.desired = settled(fork)
                assert await address_of(child) == "10.0.0.12"
                assert await address_of(guest) == "10.0.0.11"
                assert await asyncio.gather(answers("10.0.0.11"), answers("10.0.0.12")) == [True, True]
                assert await child.run("cat", "/run/note") == "before\n"
            finally:
                await converge(host, changed(child.desired, deleting=Deleting.WITH_DISKS))

    on_a_host(tmp_path, live)


def test_a_boot_comes_up_on_a_network(shelf: Shelf, tmp_path: Path) -> None:
    async def live() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with a_host_with(shelf, nat) as host:
            booting = replace(on(nat, 1, shelf.fork(nics=())), template=None)
            guest = Guest(shelf.house, host, booting)
            try:
                observed, _ = await converge(host, booting)
                assert not is_fork(observed)
                await guest.until(Stage.CONFIGURED)
                assert await address_of(guest) == "10.0.0.11"
            finally:
                await converge(host, changed(booting, deleting=Deleting.WITH_DISKS))

    on_a_host(tmp_path, live)
