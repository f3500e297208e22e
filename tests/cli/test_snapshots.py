"""What is told of snapshots beside the transcripts: their tree, what they are not, and what they cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.cli.conftest import Guest
from tests.doors.native.conftest import Open

from guesthouse.cli.commands.snapshot import NO_BACKUP, tree


@pytest.fixture
async def web(guest: Guest) -> Guest:
    """A house with a machine called web."""
    await guest.ok("image build micro")
    await guest.ok("launch --name web")
    return guest


def taken(*words: str) -> list[dict[str, Any]]:
    """Items as the door tells them, of ``name<parent``; the one with ``*`` is where the machine stands."""
    items = []
    for word in words:
        name, _, parent = word.rstrip("*").partition("<")
        item = {"id": name, "name": name, "parent": parent, "current": word.endswith("*"), "state": "ready"}
        items.append(item)
    return items


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], []),
        (["a*"], ["a *"]),
        (["a", "b<a", "c<b*"], ["a", "b", "c *"]),
        (["a", "b<a", "c<a*"], ["a", "├─ b", "└─ c *"]),
        (
            ["a", "b<a", "c<a", "d<b", "e<d", "f<c", "g<d*", "h<f"],
            ["a", "├─ b", "│  d", "│  ├─ e", "│  └─ g *", "└─ c", "   f", "   h"],
        ),
        (["a", "b*", "c<a"], ["├─ a", "│  c", "└─ b *"]),
        (["b<gone", "c<b"], ["b", "c"]),
    ],
)
def test_a_tree_branches_where_two_were_taken_of_the_same_state(words: list[str], lines: list[str]) -> None:
    assert [item["name"] for item in tree(taken(*words))] == lines


def test_a_long_history_is_as_wide_as_a_short_one() -> None:
    items = taken("n0", *(f"n{number}<n{number - 1}" for number in range(1, 3000)))
    assert [item["name"] for item in tree(items)] == [f"n{number}" for number in range(3000)]


def test_the_rest_of_an_item_is_as_it_was() -> None:
    (item,) = taken("a")
    assert list(tree([{**item, "memory": True}])) == [{**item, "memory": True}]


def test_one_that_is_not_ready_is_marked() -> None:
    first, second = taken("a", "b<a*")
    items = [{**first, "state": "deleting"}, {**second, "state": "making"}]
    assert [item["name"] for item in tree(items)] == ["a (deleting)", "b * (making)"]


async def test_a_snapshot_is_said_to_be_no_backup(web: Guest) -> None:
    ended = await web.ok("snapshot create web fresh")
    assert ended.out == "made snapshot fresh of web; it stood still for 40 ms\n"
    assert ended.err.splitlines().count(NO_BACKUP) == 1


@pytest.mark.parametrize("line", ["--quiet", "--json", "--no-wait"])
async def test_nothing_is_said_of_backups_to_programs(web: Guest, line: str) -> None:
    ended = await web.ok(f"snapshot create web fresh {line}")
    assert "backup" not in ended.out + ended.err


async def test_quiet_prints_the_name_that_was_chosen(web: Guest) -> None:
    name = (await web.ok("snapshot create web --quiet")).out.strip()
    assert (await web.ok("snapshot list web --quiet")).out.split() == [name]


async def test_json_has_the_result(web: Guest) -> None:
    made = (await web.ok("snapshot create web fresh --json")).json
    assert (made["kind"], made["state"]) == ("snapshot.create", "done")
    assert made["result"] == {"snapshot": "fresh", "pause_ms": 40}
    (item,) = (await web.ok("snapshot list web --json")).json["items"]
    assert (item["name"], item["current"]) == ("fresh", True)


async def test_of_a_stopped_machine_no_pause_is_told(web: Guest) -> None:
    await web.ok("stop web --force")
    assert (await web.ok("snapshot create web off")).out == "made snapshot off of web\n"


async def test_the_work_is_called_by_its_command_so_that_nobody_fears_for_the_machine(house: Open, web: Guest) -> None:
    await web.ok("snapshot create web fresh")
    house.host.machines.gates["remove-snapshot"] = gate = asyncio.Event()
    delete = await web.telling("snapshot delete web fresh --yes", "waiting at the gate")
    gate.set()
    ended = await delete
    assert ended.out == "deleted snapshot fresh of web\n"
    assert "snapshot delete web: waiting at the gate" in ended.err.splitlines()


async def test_one_in_the_making_is_seen_and_can_be_cancelled(house: Open, web: Guest) -> None:
    house.host.machines.gates["take-snapshot"] = asyncio.Event()
    operation = (await web.ok("snapshot create web fresh --no-wait")).out.strip()
    assert "fresh * (making)" in (await web.ok("snapshot list web")).out
    refused = await web("snapshot create web other")
    assert (refused.code, "taking a snapshot is under way" in refused.err) == (4, True)
    await web.ok(f"operation cancel {operation}")
    await web(f"operation wait {operation}")
    assert (await web.ok("snapshot list web --quiet")).out == ""
    assert "snapshot:" not in (await web.ok("show web")).out
