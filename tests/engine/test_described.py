"""What the engine makes of descriptions: whatever is asked, in whatever order, and whatever fails of it.

Random networks, subnets, NICs, groups, rules and elastic addresses come and go. Places always have an owner and
addresses of their own; and what the host is then given lets through what the descriptions say, by the same small model
as in tests/firewall, a sample of it in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.engine.house import at_work, do, ended, launch, with_image
from tests.engine.on_networks import NAT, create
from tests.firewall.box import Box, alone
from tests.firewall.reference import Packet, comes_to, expected, packets, passes, street_of, verdict
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.decide.addresses import address6
from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.intents import Intent
from guesthouse.engine.wanted import load_wanted
from guesthouse.model.errors import Failed, GuesthouseError
from guesthouse.model.machine import Machine, NicSpec
from guesthouse.model.network import Direction, NetworkWanted, PortWanted, Protocol
from guesthouse.model.resources import Operation, OperationState
from guesthouse.ports import Store, Transaction
from guesthouse.store import open_store

ADDRESSES = ("203.0.113.1", "203.0.113.2")
SUBNETS = {"s1": "10.1.0.0/24", "s2": "10.2.0.0/24"}


def a_subnet(name: str) -> asked.SubnetCreate:
    """One with three addresses, so that they run out."""
    base = SUBNETS[name].removesuffix("0/24")
    return asked.SubnetCreate(network="lan", name=name, cidr=SUBNETS[name], first=f"{base}10", last=f"{base}12")


def a_rule(network: str, group: str, **words: Any) -> asked.RuleAdd:
    return asked.RuleAdd(network=network, group=group, **words)


def a_mac(number: int) -> str:
    return f"52:54:00:00:00:0{number}"


def a_nic(number: int, network: str, subnet: str, *groups: str) -> NicSpec:
    return NicSpec(mac=a_mac(number), network=network, subnet=subnet, groups=groups)


BEGINNING: tuple[Intent, ...] = (
    asked.PoolAdd(cidr="203.0.113.0/29"),
    *(asked.AddressAllocate(address=address) for address in ADDRESSES),
    create("lan", ipv6=True),
    create("home", NAT),
    *(a_subnet(name) for name in SUBNETS),
    *(asked.GroupCreate(network=network, name=name) for network in ("lan", "home") for name in ("a", "b")),
    a_rule("lan", "a", peer="b"),
    a_rule("lan", "b", cidr="0.0.0.0/0", direction=Direction.OUT),
    a_rule("home", "a", cidr="0.0.0.0/0", protocol=Protocol.TCP, first_port=80, last_port=443),
    launch("m", nics=(a_nic(1, "lan", "s1", "a"), a_nic(2, "home", "", "a"))),
    launch("n", nics=(a_nic(3, "lan", "s1", "b"), a_nic(4, "lan", "s2", "a", "b"))),
    launch("o", nics=(a_nic(5, "lan", "s2"), a_nic(6, "home", ""))),
    asked.AddressAttach(address=ADDRESSES[0], machine="m", mac=a_mac(1)),
)

# --- what is drawn --------------------------------------------------------------------------------------------

_NETWORKS, _GROUPS, _MACHINES = st.sampled_from(("lan", "home")), st.sampled_from(("a", "b")), st.sampled_from("mno")
_MACS = st.sampled_from([a_mac(number) for number in range(1, 9)])


@st.composite
def nics(draw: st.DrawFn) -> NicSpec:
    network = draw(_NETWORKS)
    subnet = draw(st.sampled_from(("", *SUBNETS))) if network == "lan" else ""
    groups = tuple(draw(st.lists(_GROUPS, unique=True, max_size=2)))
    return NicSpec(mac=draw(_MACS), network=network, subnet=subnet, groups=groups)


@st.composite
def rules(draw: st.DrawFn) -> asked.RuleAdd:
    protocol = draw(st.sampled_from((Protocol.ANY, Protocol.TCP, Protocol.UDP, Protocol.ICMP)))
    span = draw(st.sampled_from(((22, 22), (80, 443)))) if protocol in (Protocol.TCP, Protocol.UDP) else (None, None)
    cidr = draw(st.sampled_from(("0.0.0.0/0", "10.1.0.0/24", "10.2.0.10/32", "")))
    return asked.RuleAdd(
        network=draw(_NETWORKS), group=draw(_GROUPS), direction=draw(st.sampled_from(Direction)), protocol=protocol,
        first_port=span[0], last_port=span[1], cidr=cidr, peer="" if cidr else draw(_GROUPS),
    )  # fmt: skip


_NICS = st.lists(nics(), max_size=3, unique_by=lambda nic: nic.mac).map(tuple)
_ADDRESSES = st.sampled_from(ADDRESSES)
INTENTS: st.SearchStrategy[Intent] = st.one_of(
    st.builds(lambda name, some: launch(name, nics=some), _MACHINES, _NICS),
    st.builds(lambda name, some: launch(name, nics=some), _MACHINES, _NICS),
    st.builds(intents.Change, machine=_MACHINES, nics=_NICS),
    st.builds(intents.Change, machine=_MACHINES, nics=_NICS),
    st.builds(intents.Delete, machine=_MACHINES),
    st.builds(intents.Stop, machine=_MACHINES, force=st.just(True)),
    st.builds(intents.Start, machine=_MACHINES),
    rules(),
    rules(),
    st.builds(asked.GroupCreate, network=_NETWORKS, name=_GROUPS),
    st.builds(asked.GroupDelete, network=_NETWORKS, group=_GROUPS),
    st.sampled_from([a_subnet(name) for name in SUBNETS]),
    st.builds(asked.SubnetDelete, network=st.just("lan"), subnet=st.sampled_from([*SUBNETS])),
    st.builds(asked.NetworkChange, network=_NETWORKS, ipv6=st.booleans()),
    st.builds(asked.NetworkDelete, network=_NETWORKS),
    st.builds(asked.AddressAttach, address=_ADDRESSES, machine=_MACHINES, mac=_MACS),
    st.sampled_from((create("lan", ipv6=True), create("home", NAT))),
    st.builds(asked.AddressAttach, address=_ADDRESSES, machine=_MACHINES, mac=_MACS),
    st.builds(asked.AddressDetach, address=_ADDRESSES),
)


class Turn(NamedTuple):
    """Something that is asked, whether it is waited for, and whether the host fails to do it."""

    intent: Intent
    waits: bool
    fails: bool


TURNS = st.lists(
    st.builds(Turn, INTENTS, st.booleans(), st.sampled_from((False, False, False, True))), min_size=4, max_size=14
)

# A smaller case than the first that fails is not looked for: each is a house, and that would take minutes.
_PHASES = (Phase.generate,)

# --- what is played -------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """A network as the host has it, and as the descriptions have it."""

    made: NetworkWanted
    described: NetworkWanted


class Ground:
    """A house in which the beginning has happened, to be played in again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._database = folder, folder / "house.db"
        self._first = FakeHost()
        asyncio.run(self._begin())

    async def _begin(self) -> None:
        url, host = f"sqlite:///{self._database}", self._first
        async with open_store(url) as store, at_work(store, host) as (engine, asker):
            await with_image(engine, asker)
            for intent in BEGINNING:
                accepted = await engine.accept(asker, intent)
                if isinstance(accepted, Operation):
                    assert (await ended(engine, asker, accepted)).state is OperationState.DONE, intent

    def _host(self) -> FakeHost:
        host = FakeHost()
        host.images = self._first.images
        host.networks.made, host.machines.seen = dict(self._first.networks.made), dict(self._first.machines.seen)
        return host

    def play(self, turns: list[Turn]) -> list[Outcome]:
        """What becomes of the networks."""
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".db") as copy:
            shutil.copyfile(self._database, copy.name)
            return asyncio.run(self._play(f"sqlite:///{copy.name}", turns))

    async def _play(self, url: str, turns: list[Turn]) -> list[Outcome]:
        host = self._host()
        async with open_store(url) as store, at_work(store, host) as (engine, asker):
            under_way: list[Operation] = []
            for turn in turns:
                fault = {"apply": Failed("no")} if turn.fails else {}
                host.networks.faults, host.machines.faults = dict(fault), {"plug-nic": Failed("no")} if fault else {}
                with contextlib.suppress(GuesthouseError):
                    accepted = await engine.accept(asker, turn.intent)
                    assert isinstance(accepted, Operation)
                    under_way.append(accepted)
                while turn.waits and under_way:
                    await ended(engine, asker, under_way.pop())
                async with store.read() as tx:
                    await check_always(tx)
            host.networks.faults, host.machines.faults = {}, {}
            for operation in under_way:
                await ended(engine, asker, operation)
            async with store.read() as tx:
                for row in await tx.machines.scan():
                    host.machines.stir(row.id)  # where undoing failed as well it waits for that
            await at_rest(store)
            async with store.read() as tx:
                names = [network.name for network in await tx.networks.scan()]
            for name in names:
                await do(engine, asker, asked.NetworkChange(network=name, mtu=1400))
            async with store.read() as tx:
                return await outcomes(tx, host)


async def at_rest(store: Store) -> None:
    """Wait until machines are as they are wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with store.read() as tx:
                rows = await tx.machines.scan()
                open_ones = await tx.operations.scan(ended_at=0.0)
            if not open_ones and all(row.observed_generation == row.generation for row in rows):
                return
            await asyncio.sleep(0)


async def check_always(tx: Transaction) -> None:
    """What holds at every moment: places have owners and addresses of their own, and lie where they say."""
    machines = {machine.id for machine in await tx.machines.scan()}
    subnets = {subnet.id: subnet for subnet in await tx.subnets.select()}
    groups = {group.id: group for group in await tx.groups.select()}
    ports = {port.id: port for port in await tx.ports.select()}
    for name in ("mac", "address", "address6", "number"):
        mine = [(port.network, getattr(port, name)) for port in ports.values() if getattr(port, name)]
        assert len(set(mine)) == len(mine), name
    assert len({port.mac for port in ports.values()}) == len(ports)
    for port in ports.values():
        subnet = subnets[port.subnet]
        assert port.machine in machines
        assert port.network == subnet.network
        assert ip_address(port.address) in ip_network(subnet.cidr)
        assert port.address != subnet.gateway
        assert port.address6 == address6(subnet, port.address)
        assert {groups[id].network for id in port.groups} <= {port.network}
    for elastic in await tx.elastics.select():
        assert (ports[elastic.port].network if elastic.port else "") == elastic.network


async def outcomes(tx: Transaction, host: FakeHost) -> list[Outcome]:
    """The networks at rest: nobody has a place who is not described there, and the host knows all of it."""
    machines, found = await tx.machines.select(), []
    for network in await tx.networks.select():
        made = host.networks.made[network.id]
        wanted = await load_wanted(tx, network)
        assert (made.subnets, made.ports, made.groups) == (wanted.subnets, wanted.ports, wanted.groups)
        found.append(Outcome(made, described(wanted, machines)))
    assert len(found) == len(host.networks.made)
    return found


def described(wanted: NetworkWanted, machines: list[Machine]) -> NetworkWanted:
    """The network with the places that descriptions tell of; only their numbers are not in there."""
    places = {each.port.mac: each for each in wanted.ports}
    subnets = {subnet.name: subnet for subnet in wanted.subnets}
    groups = {group.name: group.id for group in wanted.groups}
    nics = [nic for machine in machines for nic in machine.spec.nics if nic.network == wanted.network.name]
    assert {nic.mac for nic in nics} == places.keys()
    ports = []
    for nic in nics:
        said: dict[str, Any] = {
            "subnet": subnets[nic.subnet].id, "address": nic.address,
            "address6": address6(subnets[nic.subnet], nic.address),
            "groups": tuple(groups[name] for name in nic.groups),
        }  # fmt: skip
        port = msgspec.structs.replace(places[nic.mac].port, **said)
        ports.append(PortWanted(port=port, elastic=places[nic.mac].elastic))
    return msgspec.structs.replace(wanted, ports=tuple(ports))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


def test_whatever_is_asked_places_are_in_order_and_rules_mean_what_is_described(ground: Ground) -> None:
    @settings(max_examples=20, phases=_PHASES)
    @given(TURNS, st.data())
    def play(turns: list[Turn], data: st.DataObject) -> None:
        for made, said in ground.play(turns):
            if made.ports:
                for packet in data.draw(st.lists(packets(street_of(made)), max_size=20)):
                    assert verdict(made, packet) == passes(said, packet), packet

    play()


def test_the_kernel_does_what_is_described(ground: Ground) -> None:
    @settings(max_examples=5, phases=_PHASES)
    @given(TURNS, st.data())
    def play(turns: list[Turn], data: st.DataObject) -> None:
        for made, said in (outcome for outcome in ground.play(turns) if outcome.made.ports):
            sent = data.draw(st.lists(packets(street_of(made)), min_size=10, max_size=20))

            def look(made: NetworkWanted = made, said: NetworkWanted = said, sent: list[Packet] = sent) -> None:
                box = Box(made, ipv6=made.network.ipv6)
                for token, packet in enumerate(sent, 0x5EED_0000):
                    assert comes_to(box, said, packet, token) == expected(said, packet), packet

            alone(look)

    play()
