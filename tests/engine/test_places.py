"""Places of machines on networks: who gets which address, who is refused, and when a place is free again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Any

import msgspec
import pytest
from tests.engine.house import at_work, do, launch, with_image
from tests.hosts import FIRST_PORT, FakeHost

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.engine.register import MachineRegister
from guesthouse.model.errors import Conflict, GuesthouseError, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import Forward, Machine, NicSpec
from guesthouse.model.names import make_id
from guesthouse.model.network import Group, Network, NetworkMode, NetworkState, Port, Subnet
from guesthouse.store import SqlStore

_RANDOM = SystemRandom()


class Street:
    """A house at work, its store, and the networks that a test puts there."""

    def __init__(self, engine: Engine, asker: Asker, store: SqlStore, host: FakeHost) -> None:
        self.engine, self.asker, self.store, self.host = engine, asker, store, host
        self._numbers = 100

    async def network(self, name: str, mode: NetworkMode = NetworkMode.NAT, *cidrs: str, **values: Any) -> Network:
        """A network that is ready, with a subnet for each of `cidrs`; the last address is the first one's end."""
        self._numbers += 1
        said = {"project": self.asker.project, "name": name, "mode": mode, "number": self._numbers}
        network = Network(id=make_id(_RANDOM), **{**said, "state": NetworkState.READY, **values})
        async with self.store.write() as tx:
            network = await tx.networks.insert(network)
            for number, cidr in enumerate(cidrs, 1):
                await tx.subnets.insert(_subnet(network, number, cidr))
        return network

    async def group(self, network: Network, name: str) -> Group:
        async with self.store.write() as tx:
            return await tx.groups.insert(
                Group(id=make_id(_RANDOM), project=network.project, network=network.id, name=name)
            )

    async def launch(self, name: str, *nics: NicSpec) -> Machine:
        await do(self.engine, self.asker, launch(name, nics=nics))
        return await self.machine(name)

    async def machine(self, name: str) -> Machine:
        async with self.store.read() as tx:
            (found,) = await tx.machines.select(name=name)
        return found

    async def ports(self, **equal: object) -> list[Port]:
        async with self.store.read() as tx:
            return await tx.ports.select(**equal)

    async def generation(self, network: Network) -> int:
        async with self.store.read() as tx:
            found = await tx.networks.get(network.id)
        assert found is not None
        return found.generation


def _subnet(network: Network, number: int, cidr: str) -> Subnet:
    base = cidr.rpartition(".")[0]
    return Subnet(
        id=make_id(_RANDOM),
        project=network.project,
        network=network.id,
        name=f"s{number}",
        number=number,
        cidr=cidr,
        gateway=f"{base}.1",
        first=f"{base}.2",
        last=f"{base}.4",
        cidr6=f"fd00:0:0:{number}::/64" if network.ipv6 else "",
    )


@asynccontextmanager
async def a_street(store: SqlStore) -> AsyncIterator[Street]:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        yield Street(engine, asker, store, host)


async def test_a_machine_gets_the_first_free_address_and_keeps_it(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24", ipv6=True)
        web = await street.launch("web", NicSpec(network="back"))
        (nic,) = web.spec.nics
        assert (nic.network, nic.subnet, nic.address, web.address) == ("back", "s1", "10.0.0.2", "10.0.0.2")
        (port,) = await street.ports(machine=web.id)
        assert (port.mac, port.address, port.address6, port.number) == (nic.mac, "10.0.0.2", "fd00:0:0:1::2", 1)
        before = await street.generation(back)
        db = await street.launch("db", NicSpec(network=back.id, address="10.0.0.77"))
        assert db.spec.nics[0].address == "10.0.0.77"
        assert await street.generation(back) > before
        await do(street.engine, street.asker, intents.Change(machine="web", vcpus=2))
        assert (await street.machine("web")).spec.nics == web.spec.nics
        await do(street.engine, street.asker, intents.Rename(machine="web", name="www"))
        assert [port.name for port in await street.ports(machine=web.id)] == ["www"]
        await do(street.engine, street.asker, intents.Delete(machine="www"))
        assert await street.ports(machine=web.id) == []
        assert (await street.launch("again", NicSpec(network="back"))).address == "10.0.0.2"


async def test_a_place_is_free_when_its_nic_is_gone(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        web = await street.launch("web", NicSpec(), NicSpec(network="back"))
        assert len(await street.ports()) == 1
        await do(street.engine, street.asker, intents.Change(machine="web", nics=web.spec.nics[:1]))
        assert await street.ports() == []
        both = await street.launch("two", NicSpec(network="back"), NicSpec(network="back"))
        assert [nic.address for nic in both.spec.nics] == ["10.0.0.2", "10.0.0.3"]


async def test_a_machine_goes_back_to_its_address_or_not_at_all(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        web = await street.launch("web", NicSpec(network="back"))
        await do(street.engine, street.asker, intents.SnapshotCreate(machine="web", name="s"))
        await do(street.engine, street.asker, intents.Change(machine="web", nics=()))
        await do(street.engine, street.asker, intents.SnapshotRevert(machine="web", snapshot="s"))
        assert [port.address for port in await street.ports(machine=web.id)] == ["10.0.0.2"]
        await do(street.engine, street.asker, intents.Change(machine="web", nics=()))
        await street.launch("other", NicSpec(network="back"))
        with pytest.raises(Conflict, match=r"address 10\.0\.0\.2 is taken"):
            await street.engine.accept(street.asker, intents.SnapshotRevert(machine="web", snapshot="s"))


async def test_forks_have_places_of_their_own(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.launch("web", NicSpec(network="back"))
        await do(street.engine, street.asker, intents.Fork(machine="web", count=2))
        assert sorted(port.address for port in await street.ports()) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
        assert len({port.mac for port in await street.ports()}) == 3
        with pytest.raises(NoCapacity, match="no free address"):
            await street.engine.accept(street.asker, intents.Fork(machine="web"))
        assert len(await street.ports()) == 3


async def test_groups_and_forwards_may_change_and_the_place_may_not(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.PRIVATE, "10.0.0.0/24", "10.0.1.0/24")
        default, db = await street.group(back, "default"), await street.group(back, "db")
        web = await street.launch("web", NicSpec(network="back", subnet="s2"))
        assert (web.address, web.spec.nics[0].groups) == ("10.0.1.2", ("default",))
        assert [port.groups for port in await street.ports()] == [(default.id,)]
        nic = msgspec.structs.replace(web.spec.nics[0], groups=("db",), forwards=(Forward(guest_port=80),))
        before = await street.generation(back)
        await do(street.engine, street.asker, intents.Change(machine="web", nics=(nic,)))
        (port,) = await street.ports()
        assert (port.groups, len(port.forwards)) == ((db.id,), 1)
        assert port.forwards[0].host_port >= 40000
        assert await street.generation(back) > before
        for field, value in (("address", "10.0.1.3"), ("subnet", "s1"), ("network", "")):
            moved = msgspec.structs.replace(nic, **{field: value})
            with pytest.raises(Invalid):
                await street.engine.accept(street.asker, intents.Change(machine="web", nics=(moved,)))


REFUSED: dict[str, tuple[NicSpec, type[GuesthouseError], str]] = {
    "no such network": (NicSpec(network="none"), NotFound, "there is no network 'none'"),
    "of others": (NicSpec(network="theirs"), NotFound, "there is no network 'theirs'"),
    "in the making": (NicSpec(network="making"), Conflict, "is not ready: making"),
    "no such subnet": (NicSpec(network="back", subnet="s9"), NotFound, "has no subnet 's9'"),
    "no such group": (NicSpec(network="back", groups=("g",)), NotFound, "has no group 'g'"),
    "outside": (NicSpec(network="back", address="10.9.0.1"), Invalid, "is not in subnet s1"),
    "the gateway's": (NicSpec(network="back", address="10.0.0.1"), Invalid, "is the gateway's"),
    "no address": (NicSpec(network="back", address="x"), Invalid, "is no address"),
    "taken": (NicSpec(network="back", address="10.0.0.2"), Conflict, "is taken"),
    "given by others": (NicSpec(network="lan", address="10.0.0.9"), Invalid, "has no address"),
    "forwards none": (NicSpec(network="lan", forwards=(Forward(guest_port=80),)), Invalid, "forwards no ports"),
    "no network": (NicSpec(address="10.0.0.9"), Invalid, "a NIC without a network has no address"),
}


async def test_who_is_refused_leaves_no_trace(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("lan", NetworkMode.BRIDGE)
        await street.network("making", NetworkMode.NAT, "10.2.0.0/24", state=NetworkState.MAKING)
        await do(street.engine, street.asker, launch("web", nics=(NicSpec(network="back"),)))
        accepted = await street.engine.accept(street.asker, intents.ProjectCreate(name="others"))
        await street.network("theirs", NetworkMode.NAT, "10.3.0.0/24", project=accepted.id)  # type: ignore[union-attr]
        before = await street.ports()
        for name, (nic, kind, message) in REFUSED.items():
            with pytest.raises(kind, match=message):
                await street.engine.accept(street.asker, launch("x", nics=(nic,)))
            assert await street.ports() == before, name


class Keys:
    """The house's keys, of which a test needs the public half."""

    async def public(self, project: str) -> str:
        return f"ssh-ed25519 AAAA of {project}"

    def private_path(self, project: str) -> str:
        return ""


async def test_who_asks_for_metadata_is_known_by_network_and_address(store: SqlStore) -> None:
    async with a_street(store) as street:
        one = await street.network("one", NetworkMode.PRIVATE, "10.0.0.0/24", ipv6=True, domain="one.guest.internal")
        two = await street.network("two", NetworkMode.PRIVATE, "10.0.0.0/24")
        group = await street.group(one, "default")
        register = MachineRegister(store, store, Keys())
        web = await street.launch("web", NicSpec(network="one"), NicSpec(network="two", address="10.0.0.9"))
        other = await street.launch("other", NicSpec(network="two"))
        for network, address, machine in (
            (one, "10.0.0.2", web),
            (one, "fd00:0:0:1::2", web),
            (two, "10.0.0.2", other),
            (two, "10.0.0.9", web),
        ):
            asked = await register.who(network.id, address)
            assert asked is not None
            assert (asked.machine, asked.name) == (machine.id, machine.name)
        asked = await register.who(one.id, "10.0.0.2")
        assert asked is not None
        assert asked.hostname == "web.one.guest.internal"
        assert [(nic.network_name, nic.address) for nic in asked.nics] == [("one", "10.0.0.2"), ("two", "10.0.0.9")]
        assert [each.name for each in asked.nics[0].groups] == [group.name]
        assert asked.keys[-1].public == f"ssh-ed25519 AAAA of {web.project}"
        assert await register.who(one.id, "10.0.0.9") is None
        assert await register.who(one.id, "") is None
        await do(street.engine, street.asker, intents.Delete(machine="web"))
        assert await register.who(one.id, "10.0.0.2") is None


async def test_ssh_goes_where_the_host_reaches_a_machine(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("shop", NetworkMode.PRIVATE, "10.1.0.0/24")
        ssh = Forward(guest_port=22, host_port=40022)
        await street.launch("web", NicSpec(network="back"))
        await street.launch("db", NicSpec(network="shop"))
        await street.launch("way", NicSpec(network="shop", forwards=(ssh,)))
        await street.launch("user", NicSpec())
        ways = {"web": ("10.0.0.2", 22), "way": ("127.0.0.1", 40022), "user": ("127.0.0.1", FIRST_PORT + 3)}
        for name, way in ways.items():
            access = await street.engine.inside.ssh(street.asker, name)
            assert (access.host, access.port) == way, name
        with pytest.raises(Conflict, match=r"neither a port of this host .* nor an address"):
            await street.engine.inside.ssh(street.asker, "db")
