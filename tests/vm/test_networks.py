"""Networks of a real daemon on a host of its own, as people type them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.host.nets import ask, ip, left, on_a_host, outside
from tests.patience import PATIENCE_S
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest

from guesthouse.formats import links
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
ELASTIC, SSH = "203.0.113.49", 22
GREETING = "SSH-2.0-"


@contextlib.asynccontextmanager
async def a_house_on_a_host(micro_image: BuiltImage) -> AsyncIterator[tuple[House, Namespace]]:
    """A house whose networks go with the block, and what is outside of its host."""
    async with outside() as there, a_furnished_house(micro_image) as house:
        try:
            yield house, there
        finally:
            await clean(house)


async def until_ready(daemon: Daemon) -> None:
    """The network that is there from the start is made."""
    for operation in (await daemon.ask("GET", "/operations"))["items"]:
        assert (await daemon.ended(operation["id"]))["state"] == "done"


def test_networks_as_people_type_them(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, there):
            tag = links.tag_of(house.home.resolve())
            async with a_daemon(house, networks=True) as daemon:
                await until_ready(daemon)
                listed = await guest(house, "network", "list")
                assert "default  nat   ready  10.100.0.0/24  default.guest.internal  yes" in listed
                assert f"gh{tag}-1" in left()
                await guest(house, "network", "create", "lab", "--cidr", "10.7.0.0/24", "--ipv6")
                await _reach_a_machine(house, there)
                await guest(house, "network", "set", "lab", "--ipv6", "no", "--mtu", "1400")
                assert "mtu 1400" in ip("-o", "link", "show", f"gh{tag}-2")
                await guest(house, "network", "delete", "lab", "--yes")
                assert f"gh{tag}-2" not in left()
                assert "has a daemon already" in await guest(house, "host", "clean", "--yes", code=4)
            assert f"gh{tag}-1" in left()
            assert f"removed default (gh{tag}-1)" in await guest(house, "host", "clean", "--yes")
            assert left() == []
            assert "had no networks" in await guest(house, "host", "clean", "--yes")

    on_a_host(tmp_path, look)


async def _reach_a_machine(house: House, there: Namespace) -> None:
    """From outside by its elastic address, as long as that leads to it, and its group lets it."""
    await guest(house, "group", "create", "lab", "web")
    await guest(house, "group", "rule", "add", "lab", "web", "tcp:22", "--from", "203.0.113.0/24")
    launch = (
        "launch",
        "micro",
        "--name",
        "web",
        "--memory",
        "128M",
        "--nic",
        "network=lab,address=10.7.0.9,groups=web",
    )
    await guest(house, *launch)
    await guest(house, "address", "pool", "add", "203.0.113.48/28")
    assert await guest(house, "address", "allocate") == f"{ELASTIC}\n"
    assert await ask(there, ELASTIC, SSH, denied=True) == ""
    await guest(house, "address", "attach", ELASTIC, "web")
    assert (await ask(there, ELASTIC, SSH)).startswith(GREETING)
    assert f"{ELASTIC}  web      lab      " in await guest(house, "address", "list")
    shown = await guest(house, "network", "show", "lab")
    assert "leases:   10.7.0.9 until 20" in shown
    assert "machines: web" in await guest(house, "group", "show", "lab", "web")
    assert "used by web" in await guest(house, "network", "delete", "lab", "--yes", code=4)
    await guest(house, "group", "rule", "remove", "lab", "web", "tcp:22", "--from", "203.0.113.0/24")
    assert await ask(there, ELASTIC, SSH, denied=True) == ""
    await guest(house, "group", "rule", "add", "lab", "web", "tcp:22-23", "--from", "203.0.113.100")
    assert (await ask(there, ELASTIC, SSH)).startswith(GREETING)
    await guest(house, "address", "detach", ELASTIC)
    assert await ask(there, ELASTIC, SSH, denied=True) == ""
    await guest(house, "address", "release", ELASTIC, "--yes")
    await guest(house, "delete", "web", "--yes")


def test_what_others_take_away_comes_back(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, _):
            link = f"gh{links.tag_of(house.home.resolve())}-1"
            async with a_daemon(house, networks=True) as daemon:
                await until_ready(daemon)
                ip("link", "delete", link)
                await until_there(link)
                daemon.kill()
                assert await daemon.died() != 0
            ip("link", "delete", link)
            async with a_daemon(house, networks=True):
                await until_there(link)
                said = (house.home / "daemon.log").read_text()
                assert said.count("network.repair of default") >= 2

    on_a_host(tmp_path, look)


async def until_there(link: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while link not in await asyncio.to_thread(ip, "-o", "link"):
            pass
