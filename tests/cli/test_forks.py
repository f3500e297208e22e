"""A launch says from what its machine was forked, and only then."""

from __future__ import annotations

import asyncio

import pytest
from tests.cli.conftest import Guest
from tests.doors.native.conftest import Open

FORKED = "web is a fork of template micro-1-512"


@pytest.fixture
async def frozen(guest: Guest) -> Guest:
    """A house with the micro image and a template of it."""
    await guest.ok("image build micro")
    await guest.ok("template create micro")
    return guest


async def test_a_fork_is_called_one_beside_the_answer(frozen: Guest) -> None:
    ended = await frozen.ok("launch --name web")
    assert FORKED in ended.err.splitlines()
    assert FORKED not in ended.out


@pytest.mark.parametrize("line", ["--cold", "--memory 256M", "--no-start", "--quiet", "--json"])
async def test_nothing_is_said_of_a_boot_or_where_quiet_was_asked_for(frozen: Guest, line: str) -> None:
    ended = await frozen.ok(f"launch --name web {line}")
    assert "fork" not in ended.err


async def test_why_a_machine_boots_for_which_there_is_no_template_of_its_datasource(frozen: Guest) -> None:
    await frozen.ok("network create back")
    line = "launch --name web --network back --datasource metadata"
    said = "web boots: template micro-1-512 is for machines whose datasource is seed"
    assert said in (await frozen.ok(line)).err.splitlines()
    await frozen.ok("template create micro --datasource metadata")
    forked = (await frozen.ok(line.replace("web", "db"))).err
    assert "db is a fork of template micro-1-512-metadata" in forked.splitlines()


async def test_json_has_the_template_in_the_result(frozen: Guest) -> None:
    await frozen.ok("launch --name web")
    (launched,) = [
        each for each in (await frozen.ok("operation list --all --json")).json["items"] if each["subject_name"] == "web"
    ]
    shown = (await frozen.ok(f"operation show {launched['id']} --json")).json
    assert shown["result"] == {"template": "micro-1-512"}


async def test_a_host_that_booted_all_the_same_is_believed(house: Open, frozen: Guest) -> None:
    house.host.machines.forks = False
    assert "fork" not in (await frozen.ok("launch --name web")).err


async def test_a_template_in_the_making_is_seen_and_can_be_cancelled(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    house.host.templates.gates["make"] = asyncio.Event()
    operation = (await guest.ok("template create micro --no-wait")).out.strip()
    (row,) = (await guest.ok("template list --json")).json["items"]
    assert (row["name"], row["state"]) == ("micro-1-512", "making")
    refused = await guest("template delete micro-1-512 --yes")
    assert (refused.code, "template.create is under way" in refused.err) == (4, True)
    await guest.ok(f"operation cancel {operation}")
    await guest(f"operation wait {operation}")
    assert (await guest.ok("template ls --quiet")).out == ""
