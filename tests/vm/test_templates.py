"""Templates and forks through a real daemon: as users ask for them, and when it is killed or told to stop meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.host.boxes import qemus
from tests.patience import PATIENCE_S
from tests.vm.deaths import TEMPLATE
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest, left_in

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm


async def until_it_boots(daemon: Daemon) -> Any:
    """Ask for a template; the operation when its QEMU runs."""
    operation = await daemon.ask(*TEMPLATE)
    async with asyncio.timeout(PATIENCE_S):
        while operation["phase"] != "booting" or not qemus(daemon.house):
            wait = f"/operations/{operation['id']}?wait_s=1&after={operation['stamp']}"
            operation = await daemon.ask("GET", wait)
    return operation


async def test_killed_while_a_template_boots(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house:
        empty = left_in(house)
        async with a_daemon(house) as daemon:
            operation = await until_it_boots(daemon)
            daemon.kill()
            await daemon.died()
        assert len(qemus(house)) == 1
        async with a_daemon(house) as daemon:
            document = await daemon.ended(operation["id"])
            assert document["state"] == "done", document
            assert left_in(house) == {**empty, "templates": [document["subject"]]}
            await daemon.do("DELETE", "/templates/warm")
        assert left_in(house) == empty


async def test_a_template_that_is_cancelled_while_it_boots_leaves_nothing(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house, a_daemon(house) as daemon:
        empty = left_in(house)
        operation = await until_it_boots(daemon)
        await daemon.ask("POST", f"/operations/{operation['id']}/cancel")
        assert (await daemon.ended(operation["id"]))["state"] == "cancelled"
        assert left_in(house) == empty
        assert (await daemon.ask("GET", "/templates"))["items"] == []


async def test_as_users_ask_for_them(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house, a_daemon(house):
        made = await guest(house, "template", "create", "micro", "--name", "warm", "--memory", "128M")
        assert "made template warm" in made
        (header, row) = (await guest(house, "template", "list")).splitlines()
        assert header.split()[:4] == ["NAME", "STATE", "IMAGE", "VCPUS"]
        assert row.split()[:5] == ["warm", "ready", "micro", "1", "128M"]
        assert "web is a fork of template warm" in await guest(house, "launch", "micro", "-n", "web", "-m", "128M")
        assert (await guest(house, "exec", "web", "hostname")).strip() == "web"
        assert "fork" not in await guest(house, "launch", "micro", "-n", "cold", "-m", "128M", "--cold", "--paused")
        shown = await guest(house, "template", "show", "warm")
        assert "web" in shown
        assert "cold" not in shown
        assert "deleted template warm" in await guest(house, "template", "delete", "warm", "--yes")
        assert list(house.templates.iterdir()) == []
        assert (await guest(house, "exec", "web", "hostname")).strip() == "web"
