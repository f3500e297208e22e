"""What the rows on networks show: each function asks the engine one question and gives the answer its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from guesthouse.doors.native import network_documents as d
from guesthouse.doors.native.documents import OfMachine
from guesthouse.doors.native.rows import Call, NoParams
from guesthouse.engine.network_views import ElasticView
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Group, Pool, Subnet


async def networks(call: Call[NoParams]) -> Sequence[d.NetworkItem]:
    views = await call.engine.networks.networks(call.asker)
    return [
        d.NetworkItem(**msgspec.structs.asdict(view.network), cidrs=tuple(subnet.cidr for subnet in view.subnets))
        for view in views
    ]


async def network(call: Call[d.OfNetwork]) -> d.NetworkDocument:
    view = await call.engine.networks.network(call.asker, call.params.network)
    record = msgspec.structs.asdict(view.network)
    return d.NetworkDocument(**record, subnets=view.subnets, ports=view.ports, leases=view.leases)


async def subnets(call: Call[d.OfNetwork]) -> Sequence[Subnet]:
    return await call.engine.networks.subnets(call.asker, call.params.network)


async def groups(call: Call[d.OfNetwork]) -> Sequence[Group]:
    return await call.engine.networks.groups(call.asker, call.params.network)


async def group(call: Call[d.OfGroup]) -> d.GroupDocument:
    view = await call.engine.networks.group(call.asker, call.params.network, call.params.group)
    return d.GroupDocument(**msgspec.structs.asdict(view.group), peers=view.peers, machines=view.machines)


async def nics(call: Call[OfMachine]) -> Sequence[d.NicItem]:
    views = await call.engine.networks.nics(call.asker, call.params.machine)
    return [d.NicItem(**_fields(view.nic), address6=view.address6, elastic=view.elastic) for view in views]


async def addresses(call: Call[NoParams]) -> Sequence[d.AddressDocument]:
    return [_address(view) for view in await call.engine.networks.elastics(call.asker)]


async def address(call: Call[d.OfAddress]) -> d.AddressDocument:
    return _address(await call.engine.networks.elastic(call.asker, call.params.address))


async def pools(call: Call[NoParams]) -> Sequence[Pool]:
    return await call.engine.networks.pools()


def _fields(record: NicSpec) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _address(view: ElasticView) -> d.AddressDocument:
    record = msgspec.structs.asdict(view.elastic)
    return d.AddressDocument(**record, network_name=view.network_name, machine_name=view.machine_name, mac=view.mac)
