"""Who may do what: every row for every role, and nothing of one project from another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from tests.doors.native.conftest import Open, done, furnish
from tests.doors.native.samples import PUBLIC_KEY, status_of

from guesthouse.doors.native.openapi import role_of
from guesthouse.doors.native.rows import Row
from guesthouse.doors.native.table import TABLE
from guesthouse.model.resources import Role

RANKS = list(Role)


async def token(client: httpx.AsyncClient, role: str) -> str:
    made = await client.post("/tokens", json={"name": f"{role}-token", "role": role})
    return str(made.json()["secret"])


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_the_table_says_and_nothing_else(
    house: Open, client: httpx.AsyncClient, role: Role
) -> None:
    async with house.remote(await token(client, role)) as holder:
        for row in TABLE:
            needed = role_of(row)
            may = needed != "house" and not row.local and RANKS.index(role) >= RANKS.index(Role(needed))
            status = await status_of(house, holder, row)
            assert status != 401
            assert (status != 403) == may, f"{row.method} {row.path} is answered {status} for a {role}"


async def test_the_operator_of_the_house_may_do_everything(house: Open, client: httpx.AsyncClient) -> None:
    for row in TABLE:
        assert await status_of(house, client, row) not in (401, 403), row


@dataclass
class Two:
    """Two projects: one that has one of everything, by name and by id, and one that has nothing."""

    names: dict[str, str]
    ids: dict[str, str]
    full: httpx.AsyncClient
    bare: httpx.AsyncClient
    bare_token: str


@pytest.fixture
async def two(house: Open, client: httpx.AsyncClient) -> AsyncIterator[Two]:
    for name in ("full", "bare"):
        assert (await client.post("/projects", json={"name": name})).status_code == 201
    async with house.local("full") as full, house.local("bare") as bare:
        await furnish(full)
        source = {"source": "https://images.example.org/own.qcow2", "name": "own"}
        await done(full, await full.post("/images/import", json=source))
        await done(full, await full.post("/disks", json={"name": "data", "size_mib": 100}))
        await done(full, await full.post("/templates", json={"name": "small", "image": "own"}))
        kept = await done(full, await full.post("/machines/web/snapshots", json={"name": "fresh"}))
        await done(full, await full.post("/networks", json={"name": "lan", "mode": "private"}))
        await done(full, await full.post("/networks/lan/subnets", json={"name": "one", "cidr": "10.1.0.0/24"}))
        await client.post("/address-pools", json={"cidr": "203.0.113.0/28"})
        kept_address = (await full.post("/addresses", json={})).json()
        await full.post("/keys", json={"name": "me", "public": PUBLIC_KEY})
        await full.post("/tokens", json={"name": "ci"})
        names = {
            "machine": "web",
            "disk": "data",
            "image": "own",
            "template": "small",
            "network": "lan",
            "key": "me",
            "token": "ci",
            "project": "full",
        }
        lists = {what: (await full.get(f"/{what}s")).json()["items"] for what in names}
        ids = {what: next(each["id"] for each in lists[what] if each["name"] == names[what]) for what in names}
        operations = (await full.get("/operations", params={"all": "true"})).json()["items"]
        ids["operation"] = names["operation"] = operations[0]["id"]
        names["address"], ids["address"] = kept_address["address"], kept_address["id"]
        for what, name in (("subnet", "one"), ("group", "default")):
            listed = (await full.get(f"/networks/lan/{what}s")).json()["items"]
            names[what], ids[what] = name, listed[0]["id"]
        access_key = (await full.post("/access-keys", json={})).json()
        names["access_key"], ids["access_key"] = access_key["name"], access_key["id"]
        names["snapshot"] = kept["result"]["snapshot"]
        ids["snapshot"] = (await full.get("/machines/web")).json()["snapshot"]
        yield Two(names, ids, full, bare, await token(bare, "admin"))


THINGS = {
    "machine",
    "disk",
    "image",
    "template",
    "network",
    "address",
    "key",
    "token",
    "operation",
    "project",
    "access_key",
}


def refers(row: Row) -> bool:
    """Whether the row's path names a thing that must be there."""
    return bool(set(row.in_path) & THINGS)


async def test_the_things_of_a_project_are_there_for_the_project(house: Open, two: Two) -> None:
    """Else the next tests would prove nothing."""
    for names in (two.names, two.ids):
        for row in TABLE:
            if refers(row) and row.method == "GET" and row.path not in ("/machines/{machine}/files",):
                status = await status_of(house, two.full, row, names)
                assert status in (200, 409), f"{row.method} {row.path} {status}"


async def test_another_projects_things_do_not_exist_for_a_token(house: Open, two: Two) -> None:
    async with house.remote(two.bare_token) as stranger:
        for names in (two.names, two.ids):
            for row in TABLE:
                if not refers(row):
                    continue
                expected = 403 if row.local or role_of(row) == "house" else 404
                assert await status_of(house, stranger, row, names) == expected, f"{row.method} {row.path}"


async def test_the_house_works_in_one_project_at_a_time(house: Open, two: Two) -> None:
    for names in (two.names, two.ids):
        for row in TABLE:
            if refers(row) and "project" not in row.in_path:
                assert await status_of(house, two.bare, row, names) == 404, f"{row.method} {row.path}"


async def test_another_projects_things_cannot_be_named_in_a_body(house: Open, two: Two) -> None:
    async with house.remote(two.bare_token) as stranger:
        await done(stranger, await stranger.post("/disks", json={"name": "mine", "size_mib": 10}))
        for machine in (two.names["machine"], two.ids["machine"]):
            assert (await stranger.post("/disks/mine/attach", json={"machine": machine})).status_code == 404
        for image in (two.names["image"], two.ids["image"]):
            launch = {"spec": {"name": "thief", "image": image}}
            assert (await stranger.post("/machines", json=launch)).status_code == 404
            assert (await stranger.post("/templates", json={"image": image})).status_code == 404
        disks = {"spec": {"name": "thief", "image": "micro", "disks": [{"name": "root", "disk": two.ids["disk"]}]}}
        assert (await stranger.post("/machines", json=disks)).status_code == 404


async def test_lists_events_and_metrics_tell_nothing_of_another_project(house: Open, two: Two) -> None:
    async with house.remote(two.bare_token) as stranger:
        for path in (
            "/machines",
            "/disks",
            "/templates",
            "/networks",
            "/addresses",
            "/keys",
            "/operations?all=true",
            "/events",
        ):
            assert (await stranger.get(path)).json() == {"items": []}, path
        assert [image["name"] for image in (await stranger.get("/images")).json()["items"]] == ["micro"]
        assert [project["name"] for project in (await stranger.get("/projects")).json()["items"]] == ["bare"]
        assert "full" not in (await stranger.get("/metrics")).text
        assert (await stranger.get("/house")).json()["home"] == ""
        assert (await stranger.get("/machines", headers={"X-Guesthouse-Project": "full"})).status_code == 404


async def test_no_more_than_the_own_role_can_be_given_away(house: Open, client: httpx.AsyncClient) -> None:
    async with house.remote(await token(client, "operator")) as operator:
        assert (await operator.post("/tokens", json={"name": "more", "role": "admin"})).status_code == 403
