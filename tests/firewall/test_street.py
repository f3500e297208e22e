"""Who reaches whom: the table of model/network.py with real connections, over a host with networks of every mode."""

from __future__ import annotations

import msgspec
from tests.firewall.box import take_network
from tests.firewall.street import (
    HOST,
    HOST6,
    OUTSIDER,
    OUTSIDER6,
    TAG,
    YARD,
    YARD6,
    YARD_GATE,
    YARD_GATE6,
    Cell,
    Street,
    listening,
    look,
)
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, all_of
from tests.host.children import run_as

from guesthouse.formats.links import transit
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkWanted, PortWanted, Subnet

SSH, WEB, DATABASE, FORWARDED = 22, 80, 5432, 2222
ELASTIC, ELASTIC6 = "203.0.113.50", "2001:db8:50::50"
NAT, NAT2, ONLY = (a_subnet(1, f"10.{number}.0.0/24", f"fd00:{number}::/64") for number in (1, 2, 3))
SAME = a_subnet(1, "172.31.0.0/24", "fd00:31::/64")
WEBS = a_group(
    1,
    *all_of("out"),
    a_rule("in", "tcp", (WEB, WEB), cidr="0.0.0.0/0"),
    a_rule("in", "tcp", (WEB, WEB), cidr="::/0"),
)
STORES = a_group(2, a_rule("in", "tcp", (DATABASE, DATABASE), group=WEBS.id))


def named(name: str, wanted: NetworkWanted, machines: str) -> NetworkWanted:
    """The network with machines of these names in place of its own."""
    ports = tuple(
        PortWanted(port=msgspec.structs.replace(each.port, name=machine), elastic=each.elastic)
        for each, machine in zip(wanted.ports, machines.split(), strict=True)
    )
    network = wanted.network
    return NetworkWanted(
        network=type(network)(
            id=network.id, project=network.project, name=name, mode=network.mode, number=network.number
        ),
        subnets=wanted.subnets,
        ports=ports,
        groups=wanted.groups,
    )


def some(subnet: Subnet, *groups: tuple[str, ...]) -> list[PortWanted]:
    return [a_port(number, lot, subnet=subnet) for number, lot in enumerate(groups, 1)]


NETWORKS = (
    named(
        "nat",
        a_network(
            "nat",
            [a_port(1, subnet=NAT, forwards=(Forward(guest_port=SSH, host_port=FORWARDED),)), a_port(2, subnet=NAT)],
            number=1,
            subnets=[NAT],
        ),
        "n1 n2",
    ),
    named("nat2", a_network("nat", some(NAT2, ()), number=2, subnets=[NAT2]), "m1"),
    named("only", a_network("host-only", some(ONLY, (), ()), number=3, subnets=[ONLY]), "h1 h2"),
    named(
        "one",
        a_network(
            "private",
            [
                a_port(1, [WEBS.id], subnet=SAME, elastic=ELASTIC),
                a_port(2, [STORES.id], subnet=SAME),
                a_port(3, [WEBS.id], subnet=SAME, elastic=ELASTIC6),
                a_port(4, subnet=SAME),
            ],
            [WEBS, STORES],
            number=4,
            subnets=[SAME],
        ),
        "v1 v2 v3 v4",
    ),
    named("other", a_network("private", some(SAME, (), ()), number=5, subnets=[SAME]), "w1 w2"),
)
ENDS = {wanted.network.name: transit(TAG, wanted.network.number) for wanted in NETWORKS}
A4 = {each.machine: each.port.address for wanted in NETWORKS for each in wanted.ports}
A6 = {each.machine: each.port.address6 for wanted in NETWORKS for each in wanted.ports}

OTHERS = {
    "host": (HOST, HOST6),
    "out": (OUTSIDER, OUTSIDER6),
    "yard": (YARD, YARD6),
    "gate": (YARD_GATE, YARD_GATE6),
}


def both(source: str, target: str, port: int, server: str | None, saw: str = "") -> tuple[Cell, Cell]:
    """The cell for IPv4 and for IPv6; names stand for addresses."""
    return tuple(  # type: ignore[return-value]
        Cell(
            source,
            _address(target, version),
            port,
            f"{server} saw {_address(saw or source, version)}" if server else None,
        )
        for version in (4, 6)
    )


def _address(name: str, version: int) -> str:
    network, _, side = name.partition("'s ")
    if side == "gateway":
        subnet = next(wanted.subnets[0] for wanted in NETWORKS if wanted.network.name == network)
        return subnet.gateway if version == 4 else subnet.gateway6
    if side:
        return str(getattr(ENDS[network], side + ("6" if version == 6 else "")))
    known = {
        "host": (HOST, HOST6),
        "out": (OUTSIDER, OUTSIDER6),
        "yard": (YARD, YARD6),
        "gate": (YARD_GATE, YARD_GATE6),
    }
    return (known.get(name) or (A4[name], A6[name]))[version // 6]


CELLS = (
    # nat: to the outside yes, from there forwarded ports alone; each other; the host, both ways
    *both("n1", "out", WEB, "out", "host"),
    *both("out", "n1", SSH, None),
    *both("out", "host", FORWARDED, "n1", "out"),
    *both("out", "nat's network", FORWARDED, None),
    *both("out", "nat's network", SSH, None),
    *both("n1", "n2", SSH, "n2"),
    *both("n1", "nat's gateway", SSH, "host"),
    *both("n1", "nat's host", SSH, "host"),
    *both("n1", "host", SSH, "host", "nat's network"),
    *both("host", "n1", SSH, "n1", "nat's host"),
    # what is none of our business
    *both("out", "yard", SSH, "yard"),
    *both("yard", "out", SSH, "out"),
    *both("yard", "host", SSH, "host"),
    *both("yard", "n1", SSH, None),
    *both("n1", "yard", SSH, "yard", "gate"),
    *both("h1", "yard", SSH, None),
    *both("yard", "host", FORWARDED, "n1", "yard"),
    # what is forwarded, from everywhere
    *both("host", "host", FORWARDED, "n1", "host"),
    Cell("host", "127.0.0.1", FORWARDED, f"n1 saw {ENDS['nat'].host}"),
    *both("n2", "host", FORWARDED, "n1", "nat's host"),
    *both("n2", "nat's gateway", FORWARDED, "n1", "nat's host"),
    *both("m1", "host", FORWARDED, "n1", "nat's host"),
    *both("w1", "host", FORWARDED, "n1", "nat's host"),
    *both("h1", "host", FORWARDED, "host", "h1"),
    # networks do not see each other
    *both("m1", "n1", SSH, None),
    *both("n1", "h1", SSH, None),
    *both("h1", "n1", SSH, None),
    *both("w1", "n1", SSH, None),
    *both("m1", "nat's network", FORWARDED, None),
    *both("m1", "one's network", SSH, None),
    # host-only
    *both("h1", "out", WEB, None),
    *both("out", "h1", SSH, None),
    *both("h1", "h2", SSH, "h2"),
    *both("h1", "only's gateway", SSH, "host"),
    *both("h1", "host", SSH, "host"),
    *both("host", "h1", SSH, "h1", "only's gateway"),
    Cell("h1", ELASTIC, WEB, None),
    Cell("out", HOST, 2299, None),  # though somebody else's rules send it to h1
    # private: groups; elastic addresses; not the host
    *both("v1", "v2", DATABASE, "v2"),
    *both("v1", "v2", WEB, None),
    *both("v4", "v2", DATABASE, None),
    *both("v4", "v1", WEB, "v1"),
    *both("v4", "v1", SSH, None),
    *both("v2", "v1", WEB, None),
    *both("v2", "out", WEB, None),
    *both("v1", "one's gateway", SSH, None),
    *both("v1", "one's host", SSH, None),
    *both("v1", "host", SSH, None),
    *both("v4", "host", SSH, None),
    *both("v4", "out", WEB, "out", "host"),
    *both("host", "v1", WEB, None),
    *both("out", "v1", WEB, None),
    Cell("v1", OUTSIDER, WEB, f"out saw {ELASTIC}"),
    Cell("v3", OUTSIDER6, WEB, f"out saw {ELASTIC6}"),
    Cell("v3", OUTSIDER, WEB, f"out saw {HOST}"),
    Cell("out", ELASTIC, WEB, f"v1 saw {OUTSIDER}"),
    Cell("out", ELASTIC6, WEB, f"v3 saw {OUTSIDER6}"),
    Cell("out", ELASTIC, SSH, None),
    Cell("out", ELASTIC6, SSH, None),
    Cell("host", ELASTIC, WEB, f"v1 saw {ENDS['one'].host}"),
    Cell("n1", ELASTIC, WEB, f"v1 saw {ENDS['one'].host}"),
    Cell("w1", ELASTIC, WEB, f"v1 saw {ENDS['one'].host}"),
    Cell("v4", ELASTIC, WEB, f"v1 saw {ENDS['one'].host}"),
    Cell("v3", ELASTIC, WEB, f"v1 saw {ENDS['one'].host}"),
    Cell("v1", ELASTIC, WEB, f"v1 saw {ELASTIC}"),
    # two tenants with the same addresses
    *both("w1", "w2", DATABASE, "w2"),
    *both("w1", "w2", SSH, "w2"),
    *both("w1", "out", WEB, "out", "host"),
)


def test_who_reaches_whom() -> None:
    async def walk() -> None:
        street = Street(NETWORKS)
        async with listening(street, (SSH, WEB, DATABASE, FORWARDED)):
            heard = {_told(cell): said for cell, said in (await look(street, CELLS)).items()}
        assert heard == {_told(cell): cell.heard for cell in CELLS}

    run_as(take_network, walk)


def _told(cell: Cell) -> str:
    return f"{cell.source} → {cell.target} {cell.port}"
