"""Networks on a host of their own: who reaches whom, by real TCP; what comes back that others took away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from socket import AF_INET6, inet_aton

import pytest
from msgspec.structs import replace
from tests.host.nets import (
    ELASTIC,
    FAR,
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    a_house_with_networks,
    a_machine,
    a_network,
    ask,
    bridge_the_uplink,
    ip,
    left,
    listener,
    on_a_host,
    outside,
    serving,
)
from tests.host.test_network_services import resolve

from guesthouse.host.networks.layout import FORWARDING6
from guesthouse.host.networks.namespace import Namespace, write_sysctl
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkMode

SSH, WEB = 22, 80
NO = ""
Row = tuple[str, str, int, str]
# Who asks whom where, and what answers: rows of the table in model/network.py, and what follows from it.
MATRIX = (
    ("nat-1", OUTSIDE, WEB, f"outside from {HOST}"),
    ("nat-1", FAR, WEB, f"outside from {HOST}"),
    ("outside", "10.0.0.11", SSH, NO),
    ("outside", "10.0.0.12", SSH, NO),
    ("outside", HOST, 2222, f"nat-1 from {OUTSIDE}"),
    ("host", HOST, 2222, f"nat-1 from {HOST}"),
    ("host", "127.0.0.1", 2222, "nat-1 from 100."),
    ("nat-1", "10.0.0.12", SSH, "nat-2 from 10.0.0.11"),
    ("nat-1", "10.0.0.1", SSH, "host from 10.0.0.11"),
    ("nat-1", HOST, SSH, "host from 10"),
    ("host", "10.0.0.11", SSH, "nat-1 from 100."),
    ("only-1", OUTSIDE, WEB, NO),
    ("only-1", FAR, WEB, NO),
    ("outside", "192.168.56.11", SSH, NO),
    ("only-1", "192.168.56.12", SSH, "only-2 from 192.168.56.11"),
    ("only-1", "192.168.56.1", SSH, "host from 192.168.56.11"),
    ("host", "192.168.56.11", SSH, "only-1 from 192.168.56.1"),
    ("nat-1", "192.168.56.11", SSH, NO),
    ("only-1", "10.0.0.11", SSH, NO),
    ("one-1", OUTSIDE, WEB, f"outside from {ELASTIC}"),
    ("two-1", OUTSIDE, WEB, f"outside from {HOST}"),
    ("outside", ELASTIC, SSH, f"one-1 from {OUTSIDE}"),
    ("one-2", "10.7.0.11", SSH, "one-1 from 10.7.0.12"),
    ("two-2", "10.7.0.11", SSH, "two-1 from 10.7.0.12"),
    ("one-1", "10.7.0.1", SSH, NO),
    ("one-1", HOST, SSH, NO),
    ("host", "10.7.0.11", SSH, NO),
    ("nat-1", "10.7.0.11", SSH, NO),
    ("wire-1", OUTSIDE, WEB, "outside from 203.0.113.61"),
    ("outside", "203.0.113.61", SSH, f"wire-1 from {OUTSIDE}"),
    ("wire-1", "203.0.113.62", SSH, "wire-2 from 203.0.113.61"),
    ("wire-1", HOST, SSH, "host from 203.0.113.61"),
    ("host", "203.0.113.61", SSH, f"wire-1 from {HOST}"),
)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_who_reaches_whom(strict: str, tmp_path: Path) -> None:
    """Also on a host that takes packets only from where it would send the answer to (rp_filter)."""

    async def look() -> None:
        for scope in ("all", "default"):
            write_sysctl(f"net/ipv4/conf/{scope}/rp_filter", strict)
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        only = a_network(2, "only", NetworkMode.HOST_ONLY, "192.168.56.0/24")
        one = a_network(3, "one", NetworkMode.PRIVATE, "10.7.0.0/24")
        two = a_network(4, "two", NetworkMode.PRIVATE, "10.7.0.0/24")
        wire = a_network(5, "wire", NetworkMode.BRIDGE, link="lan0")
        nat.port(1, forwards=(Forward(host_port=2222, guest_port=SSH),))
        one.port(1, elastic=ELASTIC)
        for made, numbers in ((nat, (2,)), (only, (1, 2)), (one, (2,)), (two, (1, 2)), (wire, (1, 2))):
            for number in numbers:
                made.port(number)
        async with outside() as there, a_house_with_networks() as (_, networks):
            bridge_the_uplink()
            machines = {"outside": there, "host": None}
            for made in (nat, only, one, two, wire):
                for asked in made.ports:
                    own = f"203.0.113.{60 + asked.port.number}/24" if made is wire else ""
                    machines[asked.machine] = await a_machine(networks, made, asked, own=own)
            services = {name: listener(each, SSH) for name, each in machines.items() if name != "outside"}
            async with serving({**services, "outside": listener(there, WEB)}):
                assert await _wrong(MATRIX, machines) == []
            for made in (nat, only, one, two, wire):
                assert await networks.differs(made.wanted) == []
                await networks.remove(made.network)
            assert left() == []

    on_a_host(tmp_path, look)


MATRIX6 = (
    ("nat-1", OUTSIDE6, WEB, f"outside from {HOST6}"),
    ("outside", HOST6, 2222, f"nat-1 from {OUTSIDE6}"),
    ("outside", "fd00:1::b", SSH, NO),
    ("nat-1", "fd00:1::c", SSH, "nat-2 from fd00:1::b"),
    ("nat-1", "fd00:1::1", SSH, "host from fd00:1::b"),
    ("host", "fd00:1::b", SSH, "nat-1 from fd"),
    ("only-1", OUTSIDE6, WEB, NO),
    ("only-1", "fd00:2::1", SSH, "host from fd00:2::b"),
    ("host", "fd00:2::b", SSH, "only-1 from fd"),
    ("one-1", OUTSIDE6, WEB, f"outside from {HOST6}"),
    ("one-1", "fd00:7::c", SSH, "one-2 from fd00:7::b"),
    ("two-1", "fd00:7::c", SSH, "two-2 from fd00:7::b"),
    ("host", "fd00:7::b", SSH, NO),
    ("one-1", HOST6, SSH, NO),
    ("nat-1", "fd00:2::b", SSH, NO),
)


def test_who_reaches_whom_by_ipv6(tmp_path: Path) -> None:
    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24", "fd00:1::/64")
        only = a_network(2, "only", NetworkMode.HOST_ONLY, "192.168.56.0/24", "fd00:2::/64")
        one = a_network(3, "one", NetworkMode.PRIVATE, "10.7.0.0/24", "fd00:7::/64")
        two = a_network(4, "two", NetworkMode.PRIVATE, "10.7.0.0/24", "fd00:7::/64")
        nat.port(1, forwards=(Forward(host_port=2222, guest_port=SSH),))
        for made, numbers in ((nat, (2,)), (only, (1,)), (one, (1, 2)), (two, (1, 2))):
            for number in numbers:
                made.port(number)
        async with outside() as there, a_house_with_networks() as (_, networks):
            # A host's owner does this, see `guest host check`: we do not.
            write_sysctl(FORWARDING6, "1")
            machines = {"outside": there, "host": None}
            for made in (nat, only, one, two):
                for asked in made.ports:
                    machines[asked.machine] = await a_machine(networks, made, asked)
            services = {name: listener(each, SSH, AF_INET6) for name, each in machines.items() if name != "outside"}
            async with serving({**services, "outside": listener(there, WEB, AF_INET6)}):
                assert await _wrong(MATRIX6, machines) == []
            for made in (nat, only, one, two):
                assert await networks.differs(made.wanted) == []

    on_a_host(tmp_path, look)


async def _wrong(matrix: Iterable[Row], machines: Mapping[str, Namespace | None]) -> list[tuple[Row, str]]:
    """The rows that do not hold, with what was answered."""
    matrix = tuple(matrix)
    told = await asyncio.gather(*(ask(machines[who], to, port, denied=not told) for who, to, port, told in matrix))
    return [
        (row, answer)
        for row, answer in zip(matrix, told, strict=True)
        if not (answer.startswith(row[3]) if row[3] else answer == NO)
    ]


def test_networks_that_are_made_at_the_same_time_do_not_lose_each_other(tmp_path: Path) -> None:
    async def look() -> None:
        many = [a_network(n, f"n{n}", NetworkMode.NAT, f"10.{n}.0.0/24") for n in range(1, 6)]
        async with outside(), a_house_with_networks() as (_, networks):
            await asyncio.gather(*(networks.apply(each.wanted) for each in many))
            assert [await networks.differs(each.wanted) for each in many] == [[]] * len(many)
            await asyncio.gather(*(networks.remove(each.network) for each in many[1:]))
            assert await networks.differs(many[0].wanted) == []
            await networks.remove(many[0].network)
            assert left() == []

    on_a_host(tmp_path, look)


def test_an_elastic_address_moves_and_goes(tmp_path: Path) -> None:
    async def look() -> None:
        made = a_network(1, "own", NetworkMode.PRIVATE, "10.7.0.0/24")
        made.port(1, elastic=ELASTIC)
        made.port(2)
        async with outside() as there, a_house_with_networks() as (_, networks):
            machines = {each.machine: await a_machine(networks, made, each) for each in made.ports}
            async with serving({name: listener(each, SSH) for name, each in machines.items()}):
                assert await ask(there, ELASTIC, SSH) == f"own-1 from {OUTSIDE}"
                one, two = made.ports
                made.ports[:] = [replace(one, elastic=""), replace(two, elastic=ELASTIC)]
                await networks.apply(made.wanted)
                assert await ask(there, ELASTIC, SSH) == f"own-2 from {OUTSIDE}"
                made.ports[1] = two
                await networks.apply(made.wanted)
                assert await ask(there, ELASTIC, SSH, denied=True) == NO
            assert (ELASTIC in ip("route"), ip("neighbour", "show", "proxy")) == (False, "")
            assert await networks.differs(made.wanted) == []

    on_a_host(tmp_path, look)


def test_subnets_come_and_go(tmp_path: Path) -> None:
    async def look() -> None:
        made, more = (a_network(1, "own", NetworkMode.PRIVATE, cidr) for cidr in ("10.7.0.0/24", "10.8.0.0/24"))
        async with outside(), a_house_with_networks() as (_, networks):
            first = await a_machine(networks, made, made.port(1))
            more.port(2)
            second = replace(more.subnets[0], id="subnet-2", number=2, name="second")
            asked = replace(more.ports[0], port=replace(more.ports[0].port, subnet=second.id))
            both = replace(made.wanted, subnets=(*made.subnets, second), ports=(*made.ports, asked))
            await networks.apply(both)
            assert await networks.differs(both) == []
            bridges = ip("-o", "link", namespace=networks.namespace(made.network).name)
            assert ("br1" in bridges, "br2" in bridges) == (True, True)
            assert await resolve(first, "10.8.0.1", "own-2") == [inet_aton("10.8.0.12")]
            await networks.apply(made.wanted)
            assert await networks.differs(made.wanted) == []
            assert "br2" not in ip("-o", "link", namespace=networks.namespace(made.network).name)

    on_a_host(tmp_path, look)
