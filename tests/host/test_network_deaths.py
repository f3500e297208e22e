"""Daemons killed while they make or remove a network; two houses on one host; what is removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.host.boxes import a_house
from tests.host.nets import (
    ELASTIC,
    Made,
    a_house_with_networks,
    a_machine,
    a_network,
    ask,
    ip,
    left,
    listener,
    on_a_host,
    outside,
    serving,
)

from guesthouse.host.networks.local import clean, open_networks
from guesthouse.host.networks.site import POINTS, REMOVAL_POINTS
from guesthouse.model.house import House
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkMode


def a_full_network() -> Made:
    """A network with all that one can have on a host."""
    made = a_network(1, "full", NetworkMode.PRIVATE, "10.7.0.0/24", "fd00:7::/64")
    made.port(1, elastic=ELASTIC)
    made.port(2, forwards=(Forward(host_port=2222, guest_port=22),))
    return made


def die(house: House, what: str, point: str, made: Made) -> None:
    """Have a daemon do it, and die at that point."""
    daemon = subprocess.run(
        (sys.executable, "-m", "tests.host.networkdaemon", str(house.home), what, point),
        input=msgspec.json.encode(made.wanted), capture_output=True,
    )  # fmt: skip
    assert daemon.stdout == b"there\n", daemon.stderr.decode()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("then", ["applied", "removed", "cleaned"])
def test_a_daemon_killed_while_making_a_network(point: str, then: str, tmp_path: Path) -> None:
    async def look() -> None:
        made = a_full_network()
        async with outside():
            with a_house() as house:
                die(house, "apply", point, made)
                if then == "cleaned":
                    await clean(house)
                else:
                    async with open_networks(house) as networks:
                        if then == "applied":
                            await networks.apply(made.wanted)
                            assert await networks.differs(made.wanted) == []
                        await networks.remove(made.network)
                        assert list(house.networks.iterdir()) == []
                assert left() == []

    on_a_host(tmp_path, look)


@pytest.mark.parametrize("point", REMOVAL_POINTS)
@pytest.mark.parametrize("then", ["removed", "cleaned"])
def test_a_daemon_killed_while_removing_a_network(point: str, then: str, tmp_path: Path) -> None:
    async def look() -> None:
        made = a_full_network()
        async with outside():
            with a_house() as house:
                async with open_networks(house) as networks:
                    await networks.apply(made.wanted)
                die(house, "remove", point, made)
                if then == "cleaned":
                    await clean(house)
                else:
                    async with open_networks(house) as networks:
                        await networks.remove(made.network)
                assert left() == []

    on_a_host(tmp_path, look)


def test_a_house_whose_folder_was_lost_is_cleaned_by_its_name(tmp_path: Path) -> None:
    async def look() -> None:
        made = a_full_network()
        async with outside():
            with a_house() as house:
                async with open_networks(house) as networks:
                    await networks.apply(made.wanted)
                shutil.rmtree(house.networks)
                assert len(await clean(house)) == 1
                assert left() == []

    on_a_host(tmp_path, look)


def test_what_is_not_ours_is_left(tmp_path: Path) -> None:
    async def look() -> None:
        async with outside():
            ip("link", "add", "gh-mine", "type", "bridge")
            ip("route", "add", "198.18.0.0/16", "via", "203.0.113.9")
            ip("neighbour", "add", "proxy", "203.0.113.77", "dev", "wan0")
            subprocess.run(("nft", "add", "table", "inet", "mine"), check=True)
            before = _everything()
            async with a_house_with_networks() as (_, networks):
                await networks.apply(a_full_network().wanted)
                assert _everything() != before
            assert _everything() == before

    on_a_host(tmp_path, look)


def _everything() -> str:
    """The host's links, addresses, routes, neighbours for whom it answers, namespaces and rules."""
    words = (
        ("ip", "-o", "address"), ("ip", "-o", "link"), ("ip", "route"), ("ip", "-6", "route"),
        ("ip", "neighbour", "show", "proxy"), ("ip", "netns"), ("nft", "list", "ruleset"),
    )  # fmt: skip
    return "\n".join(subprocess.run(each, check=True, capture_output=True, text=True).stdout for each in words)


def test_removed_while_machines_run(tmp_path: Path) -> None:
    """A TAP that is open keeps its namespace alive, but nothing in it."""

    async def look() -> None:
        async with outside(), a_house_with_networks() as (_, networks):
            made = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
            asked = made.port(1)
            await networks.apply(made.wanted)
            tap = await networks.open_tap(made.wanted, asked.port)
            await networks.remove(made.network)
            assert left() == []
            with pytest.raises(OSError, match="bad state"):
                os.write(tap, bytes(64))
            os.close(tap)

    on_a_host(tmp_path, look)


def test_two_houses_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def look() -> None:
        one, other = (
            a_network(1, name, NetworkMode.NAT, cidr) for name, cidr in (("a", "10.0.1.0/24"), ("b", "10.0.2.0/24"))
        )
        async with outside() as there, a_house_with_networks() as (_, ours), a_house_with_networks() as (_, theirs):
            machines = [
                await a_machine(networks, made, made.port(1)) for networks, made in ((ours, one), (theirs, other))
            ]
            async with serving(
                {"a": listener(machines[0], 22), "b": listener(machines[1], 22), "out": listener(there, 80)}
            ):
                for each in machines:
                    assert await ask(each, "203.0.113.100", 80) == "out from 203.0.113.1"
                assert await ask(None, "10.0.1.11", 22) != ""
                assert await ask(machines[0], "10.0.2.11", 22, denied=True) == ""
                await ours.remove(one.network)
                assert await theirs.differs(other.wanted) == []
                assert await ask(machines[1], "203.0.113.100", 80) == "out from 203.0.113.1"

    on_a_host(tmp_path, look)
