"""Records go in and come out as they are, and what may be there once is there once."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from tests.store import making

from guesthouse.model import machine as m
from guesthouse.model import network as n
from guesthouse.model import resources as r
from guesthouse.model.errors import Conflict
from guesthouse.store import SqlStore


async def test_every_noun_comes_back_as_it_was_stored(store: SqlStore) -> None:
    home = making.project(quota=r.Quota(machines=3, disk_mib=0))
    id = making.new_id
    words: dict[str, Any] = {"project": home.id, "name": "web"}
    records: dict[str, Any] = {
        "projects": home,
        "tokens": r.Token(id=id(), **words, role=r.Role.OPERATOR, digest="ab", house=True),
        "keys": r.Key(id=id(), **words, public="ssh-ed25519 AAAA me", fingerprint="SHA256:x"),
        "images": r.Image(id=id(), **words, state=r.ImageState.READY, public=True, file_bytes=1 << 40, user="debian"),
        "templates": making.template(
            home.id,
            "small",
            state=r.TemplateState.READY,
            vcpus=2,
            boot_ms=4711,
            memory_bytes=1 << 40,
            spec=m.MachineSpec(name="small", nics=(), firmware=m.Firmware.UEFI),
        ),
        "disks": making.disk(home.id, "web", format=m.DiskFormat.RAW, thin=False, machine=id(), template=id()),
        "machines": making.full_machine(home.id),
        "networks": n.Network(
            id=id(), **words, mode=n.NetworkMode.HOST_ONLY, number=3, shared=True, mtu=1400, ipv6=True, generation=9
        ),
        "subnets": n.Subnet(
            id=id(),
            **words,
            network=id(),
            number=2,
            cidr="10.1.0.0/24",
            gateway="10.1.0.1",
            first="10.1.0.2",
            last="10.1.0.9",
            cidr6="fd00::/64",
            gateway6="fd00::1",
        ),
        "groups": n.Group(
            id=id(),
            **words,
            network=id(),
            description="für alle",
            rules=(n.Rule(id=id(), direction=n.Direction.OUT, protocol=n.Protocol.ICMP, first_port=-1, last_port=-1),),
        ),
        "ports": n.Port(
            id=id(),
            **words,
            network=id(),
            subnet=id(),
            machine=id(),
            mac="52:54:00:00:00:01",
            number=7,
            address="10.1.0.2",
            groups=(id(), id()),
            guarded=False,
            forwards=(m.Forward(guest_port=80),),
        ),
        "elastics": n.Elastic(id=id(), project=home.id, address="203.0.113.7", network=id(), port=id()),
        "pools": n.Pool(id=id(), cidr="203.0.113.0/28"),
        "operations": making.operation(
            home.id, percent=12.5, context={"a": [1, None, {"b": "c"}]}, error={"code": "failed"}, result={"x": 1.5}
        ),
    }
    for noun, record in records.items():
        async with store.write() as transaction:
            stored = await getattr(transaction, noun).insert(record)
        assert msgspec.structs.replace(stored, created_at=0.0) == record
        async with store.read() as transaction:
            table = getattr(transaction, noun)
            assert await table.get(record.id) == stored
            assert await table.select(id=record.id) == [stored]
            (row,) = await table.scan()
            assert all(getattr(row, name) == getattr(stored, name) for name in row.__struct_fields__)


async def test_the_time_is_the_databases(store: SqlStore) -> None:
    began, before = time.time(), await store.now()
    async with store.write() as transaction:
        stored = await transaction.projects.insert(making.project(created_at=5.0))
        assert before <= stored.created_at <= await transaction.now()
    # A database may count the time in milliseconds.
    assert began - 0.002 <= stored.created_at <= time.time() + 0.002


async def test_what_is_not_there_is_none(store: SqlStore) -> None:
    async with store.write() as transaction:
        assert await transaction.machines.get("nothing") is None
        assert await transaction.machines.select(name="nothing") == []
        assert not await transaction.machines.update("nothing", {}, vcpus=2)
        await transaction.machines.delete("nothing")


async def test_records_come_oldest_first_and_filtered(store: SqlStore) -> None:
    home = await making.fill(store)
    names = [f"m{(number * 7) % 20}" for number in range(20)]
    async with store.write() as transaction:
        for number, name in enumerate(names):
            await transaction.machines.insert(making.machine(home.id, name, vcpus=number % 2 + 1))
    async with store.read() as transaction:
        assert [row.name for row in await transaction.machines.scan(project=home.id)] == names
        assert [row.name for row in await transaction.machines.select(vcpus=2)] == names[1::2]
        assert await transaction.machines.scan(vcpus=2, autostart=True) == []
        assert [row.name for row in await transaction.machines.scan(power=m.Power.STOPPED, name="m7")] == ["m7"]


async def test_a_filter_of_none_finds_what_has_no_value(store: SqlStore) -> None:
    async with store.write() as transaction:
        unknown = await transaction.operations.insert(making.operation("p"))
        await transaction.operations.insert(making.operation("p", percent=0.0))
        assert [row.id for row in await transaction.operations.scan(percent=None)] == [unknown.id]


async def test_an_update_changes_scalars_and_documents_and_nothing_else(store: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        before = await transaction.machines.insert(making.full_machine(home.id))
        other = await transaction.machines.insert(making.machine(home.id, "other"))
        status = m.MachineStatus(pid=1, outcome=m.Outcome(ok=True))
        assert await transaction.machines.update(before.id, {}, state=m.State.PAUSED, status=status)
        assert await transaction.machines.get(before.id) == msgspec.structs.replace(
            before, state=m.State.PAUSED, status=status
        )
        assert await transaction.machines.get(other.id) == other


async def test_an_update_that_expects_something_else_changes_nothing(store: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web"))
        assert await transaction.machines.update(web.id, {"generation": 1, "state": m.State.CREATING}, generation=2)
        assert not await transaction.machines.update(web.id, {"generation": 1}, vcpus=9)
        assert not await transaction.machines.update(web.id, {"generation": 2, "autostart": True}, vcpus=9)
        stored = await transaction.machines.get(web.id)
    assert stored == msgspec.structs.replace(web, generation=2)


@pytest.mark.parametrize(
    ("expect", "changes"),
    [
        ({"colour": 1}, {"vcpus": 2}),
        ({"spec": m.MachineSpec(name="web")}, {"vcpus": 2}),
        ({}, {"colour": 1}),
        ({}, {"seq": 1}),
        ({}, {"vcpus": "two"}),
        ({}, {"state": "flying"}),
        ({}, {"spec": {"name": 5}}),
        ({}, {"id": "another"}),
        ({}, {"created_at": 1.0}),
        ({}, {}),
    ],
)
async def test_a_wrong_column_or_type_is_the_callers_fault(
    store: SqlStore, expect: dict[str, object], changes: dict[str, object]
) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web"))
        with pytest.raises(TypeError):
            await transaction.machines.update(web.id, expect, **changes)
        assert await transaction.machines.get(web.id) == web


@pytest.mark.parametrize("equal", [{"colour": 1}, {"spec": None}, {"vcpus": "2"}, {"name": None}])
async def test_a_wrong_filter_is_the_callers_fault(store: SqlStore, equal: dict[str, object]) -> None:
    async with store.read() as transaction:
        with pytest.raises(TypeError):
            await transaction.machines.scan(**equal)


async def test_a_taken_name_is_a_conflict_and_the_transaction_goes_on(store: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        await transaction.machines.insert(making.machine(home.id, "web"))
        with pytest.raises(Conflict) as raised:
            await transaction.machines.insert(making.machine(home.id, "web"))
        await transaction.machines.insert(making.machine(home.id, "web-2"))
    error = raised.value
    assert (error.subject, error.field, error.value) == ("machine web", "name", "web")
    assert "another name" in error.hint
    async with store.read() as transaction:
        assert [row.name for row in await transaction.machines.scan()] == ["web", "web-2"]


async def test_a_rename_to_a_taken_name_is_a_conflict(store: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web"))
        await transaction.machines.insert(making.machine(home.id, "taken"))
        with pytest.raises(Conflict, match="'taken' is taken"):
            await transaction.machines.update(web.id, {}, name="taken")
        assert await transaction.machines.update(web.id, {}, name="web", vcpus=2)
        assert await transaction.machines.update(web.id, {"vcpus": 2}, name="free")
    async with store.read() as transaction:
        assert [row.name for row in await transaction.machines.scan()] == ["free", "taken"]


async def test_projects_do_not_share_names(store: SqlStore) -> None:
    one, other = await making.fill(store), await making.fill(store)
    async with store.write() as transaction:
        mine = await transaction.machines.insert(making.machine(one.id, "web"))
        theirs = await transaction.machines.insert(making.machine(other.id, "web"))
        assert [row.id for row in await transaction.machines.scan(project=one.id, name="web")] == [mine.id]
        assert [row.id for row in await transaction.machines.scan(project=other.id)] == [theirs.id]


async def test_ids_digests_and_numbers_are_there_once(store: SqlStore) -> None:
    home = await making.fill(store)
    token = r.Token(id=making.new_id(), project=home.id, name="a", role=r.Role.ADMIN, digest="secret")
    async with store.write() as transaction:
        with pytest.raises(Conflict, match="id"):
            await transaction.projects.insert(making.project(id=home.id))
        with pytest.raises(Conflict):
            await transaction.projects.insert(making.project(number=home.number))
        await transaction.projects.insert(making.project(number=0))
        await transaction.projects.insert(making.project(number=0))
        await transaction.tokens.insert(token)
        with pytest.raises(Conflict, match="digest"):
            await transaction.tokens.insert(msgspec.structs.replace(token, id=making.new_id(), name="b"))


async def test_nothing_belongs_to_a_project_that_is_not_there(store: SqlStore) -> None:
    with pytest.raises(Conflict, match="project"):
        async with store.write() as transaction:
            await transaction.machines.insert(making.machine("nowhere", "web"))


async def test_a_project_with_machines_stays_and_without_takes_its_keys_along(store: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web"))
        await transaction.keys.insert(r.Key(id="k", project=home.id, name="k", public="p", fingerprint="f"))
    with pytest.raises(Conflict, match="belongs to it"):
        async with store.write() as transaction:
            await transaction.projects.delete(home.id)
    async with store.write() as transaction:
        await transaction.machines.delete(web.id)
        await transaction.projects.delete(home.id)
        assert await transaction.keys.scan() == []
