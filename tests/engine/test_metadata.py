"""Machines that are configured by the metadata service, and what it does for each: asked for, refused, changed."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import msgspec
import pytest
from tests.engine.house import do, launch
from tests.engine.test_places import Street, a_street
from tests.hosts import FakeKeys

from guesthouse.engine import intents
from guesthouse.engine.intents import MetadataChange
from guesthouse.engine.register import MachineRegister
from guesthouse.model.errors import GuesthouseError, Invalid, NotFound
from guesthouse.model.machine import Datasource, Encoding, MachineSpec, NicSpec
from guesthouse.model.metadata import Asked, Dialect, MetadataOptions
from guesthouse.model.network import Network, NetworkMode
from guesthouse.store import SqlStore

ON_BACK: dict[str, Any] = {"nics": (NicSpec(network="back"),), "datasource": Datasource.METADATA}
PACKED = gzip.compress(b"#!/bin/sh\ntrue\n")


async def told(street: Street, network: Network) -> Asked:
    """What the first machine on a network is told of itself."""
    asked = await MachineRegister(street.store, street.store, FakeKeys()).who(network.id, "10.0.0.2")
    assert asked is not None
    return asked


async def test_a_machine_is_told_its_type(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.PRIVATE, "10.0.0.0/24")
        spec = MachineSpec(name="web", type="t3.nano", spot=True, nics=(NicSpec(network="back"),))
        await do(street.engine, street.asker, intents.Launch(spec=spec))
        asked = await told(street, back)
        assert (asked.type, asked.spot, asked.vcpus, asked.memory_mib) == ("t3.nano", True, 2, 512)
        assert (asked.interrupted_at, asked.stopped) == (0.0, False)
        await do(street.engine, street.asker, intents.Interrupt(machine="web", notice_s=3600))
        assert (await told(street, back)).interrupted_at > 0


async def test_a_machine_without_a_seed_disk(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.PRIVATE, "10.0.0.0/24")
        words: dict[str, Any] = {"user_data": base64.b64encode(PACKED).decode(), "user_data_encoding": Encoding.BASE64}
        await do(street.engine, street.asker, launch(**ON_BACK, **words))
        web = await street.machine("web")
        assert not street.host.machines.seen[web.id].seeded
        asked = await told(street, back)
        assert (asked.machine, asked.user_data, bool(asked.zone)) == (web.id, PACKED, True)
        assert asked.options == MetadataOptions()


async def test_options_are_those_of_the_machine_and_change_at_once(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        options = MetadataOptions(tokens_required=False, labels=True)
        await do(street.engine, street.asker, launch(nics=ON_BACK["nics"], metadata=options))
        assert (await told(street, back)).options == options
        steps = street.host.machines.seen[(await street.machine("web")).id]
        for change, expected in (
            (MetadataChange(hop_limit=3), MetadataOptions(tokens_required=False, labels=True, hop_limit=3)),
            (
                MetadataChange(tokens_required=True, labels=False, ipv6=False, dialects=(Dialect.EC2,)),
                MetadataOptions(hop_limit=3, ipv6=False, dialects=(Dialect.EC2,)),
            ),
            (
                MetadataChange(enabled=False),
                MetadataOptions(hop_limit=3, ipv6=False, dialects=(Dialect.EC2,), enabled=False),
            ),
        ):
            await do(street.engine, street.asker, intents.Change(machine="web", metadata=change))
            assert (await told(street, back)).options == expected
        web = await street.machine("web")
        assert web.status.pending_restart == ()
        assert street.host.machines.seen[web.id] == steps


async def test_who_is_configured_may_have_the_service_switched_off(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await do(street.engine, street.asker, launch(**ON_BACK))
        await do(street.engine, street.asker, intents.Change(machine="web", metadata=MetadataChange(enabled=False)))
        assert (await street.machine("web")).spec.metadata == MetadataOptions(enabled=False)


async def test_refusals_change_nothing(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("office", NetworkMode.BRIDGE)
        await do(street.engine, street.asker, launch(**ON_BACK))
        web = (await street.machine("web")).spec
        last = await street.engine.views.last_event()
        asks: dict[str, Any] = {"datasource": Datasource.METADATA}
        refusals: list[tuple[intents.Intent, type[GuesthouseError], str]] = [
            (launch("db", **asks), Invalid, "datasource"),
            (launch("db", **asks, nics=(NicSpec(network="office"),)), Invalid, "datasource"),
            (launch("db", **asks, nics=(NicSpec(), NicSpec(network="back"))), Invalid, "datasource"),
            (launch("db", **asks, nics=(NicSpec(network="nowhere"),)), NotFound, "network"),
            (launch("db", **ON_BACK, metadata=MetadataOptions(enabled=False)), Invalid, "metadata"),
            (launch("db", **ON_BACK, metadata=MetadataOptions(hop_limit=0)), Invalid, "hop_limit"),
            (intents.Change(machine="web", metadata=MetadataChange(hop_limit=65)), Invalid, "hop_limit"),
            (intents.Change(machine="web", nics=(NicSpec(),)), Invalid, "datasource"),
            (intents.Change(machine="web", nics=(NicSpec(network="office"),)), Invalid, "datasource"),
            (intents.Apply(spec=_with(web, datasource=Datasource.SEED)), Invalid, "datasource"),
            (intents.Apply(spec=_with(web, user_data_encoding=Encoding.BASE64)), Invalid, "user_data_encoding"),
        ]
        for intent, error, field in refusals:
            with pytest.raises(error) as refused:
                await street.engine.accept(street.asker, intent)
            assert (refused.value.field, bool(refused.value.hint)) == (field, True), intent
        assert await street.engine.views.last_event() == last
        await do(street.engine, street.asker, intents.Apply(spec=web))


async def test_where_a_template_would_have_fitted_the_reply_says_why_it_boots(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        before = await do(street.engine, street.asker, launch("before", **ON_BACK))
        await do(street.engine, street.asker, intents.TemplateCreate(image="micro", name="small", memory_mib=128))
        after = await do(street.engine, street.asker, launch("after", **ON_BACK))
        cold = await do(street.engine, street.asker, intents.Launch(spec=launch("cold", **ON_BACK).spec, cold=True))
        forked = await do(street.engine, street.asker, launch("forked"))
        assert [each.result for each in (before, cold)] == [{}, {}]
        assert after.result == {"boots": "template small is for machines whose datasource is seed"}
        assert forked.result == {"template": "small"}


async def test_forks_of_a_template_that_is_for_such_machines(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        asks = intents.TemplateCreate(image="micro", memory_mib=128, datasource=Datasource.METADATA)
        await do(street.engine, street.asker, asks)
        forked = await do(street.engine, street.asker, launch(**ON_BACK))
        assert forked.result == {"template": "micro-1-128-metadata"}
        other = await do(street.engine, street.asker, launch("other"))
        assert other.result == {"boots": "template micro-1-128-metadata is for machines whose datasource is metadata"}


def _with(spec: MachineSpec, **changes: Any) -> MachineSpec:
    return msgspec.structs.replace(spec, **changes)
