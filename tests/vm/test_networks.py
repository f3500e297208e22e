"""Networks of a real daemon on a host of its own, as people type them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.host.nets import ip, left, on_a_host, outside
from tests.patience import PATIENCE_S
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest

from guesthouse.formats import links
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.model.house import House
from guesthouse.model.network import Port
from guesthouse.store import open_store

pytestmark = pytest.mark.vm
ELASTIC = "203.0.113.49"


@contextlib.asynccontextmanager
async def a_house_on_a_host(micro_image: BuiltImage) -> AsyncIterator[House]:
    """A house whose networks go with the block."""
    async with outside(), a_furnished_house(micro_image) as house:
        try:
            yield house
        finally:
            await clean(house)


async def until_ready(daemon: Daemon) -> None:
    """The network that is there from the start is made."""
    for operation in (await daemon.ask("GET", "/operations"))["items"]:
        assert (await daemon.ended(operation["id"]))["state"] == "done"


@contextlib.asynccontextmanager
async def a_port(house: House, network: dict[str, Any], machine: dict[str, Any]) -> AsyncIterator[Port]:
    """A record of a NIC of a machine on a network, as long as the block lasts."""
    port = Port(
        id=machine["id"], project=machine["project"], network=network["id"], machine=machine["id"], name="web",
        subnet=network["subnets"][0]["id"], number=1, mac="52:54:00:00:00:01", address="10.7.0.9",
    )  # fmt: skip
    async with open_store(f"sqlite:///{house.database}") as store:
        async with store.write() as tx:
            await tx.ports.insert(port)
        yield port
        async with store.write() as tx:
            await tx.ports.delete(port.id)


def test_networks_as_people_type_them(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as house:
            tag = links.tag_of(house.home.resolve())
            async with a_daemon(house, networks=True) as daemon:
                await until_ready(daemon)
                listed = await guest(house, "network", "list")
                assert "default  nat   ready  10.100.0.0/24  default.guest.internal  yes" in listed
                assert f"gh{tag}-1" in left()
                await guest(house, "network", "create", "lab", "--cidr", "10.7.0.0/24", "--ipv6")
                await guest(house, "group", "create", "lab", "web")
                await guest(house, "group", "rule", "add", "lab", "web", "tcp:80", "--from", "0.0.0.0/0")
                await _lead_to_a_machine(house, daemon)
                await guest(house, "network", "set", "lab", "--ipv6", "no", "--mtu", "1400")
                assert "mtu 1400" in ip("-o", "link", "show", f"gh{tag}-2")
                await guest(house, "network", "delete", "lab", "--yes")
                assert f"gh{tag}-2" not in left()
                assert "has a daemon already" in await guest(house, "host", "clean", "--yes", code=4)
            assert f"gh{tag}-1" in left()
            assert f"removed gh{tag}-1" in await guest(house, "host", "clean", "--yes")
            assert left() == []
            assert "there was none" in await guest(house, "host", "clean", "--yes")

    on_a_host(tmp_path, look)


async def _lead_to_a_machine(house: House, daemon: Daemon) -> None:
    """An elastic address, to a NIC and away again."""
    await guest(house, "address", "pool", "add", "203.0.113.48/28")
    assert await guest(house, "address", "allocate") == f"{ELASTIC}\n"
    await guest(house, "launch", "micro", "--name", "web", "--memory", "128M", "--no-start")
    lab, web = await daemon.ask("GET", "/networks/lab"), await daemon.ask("GET", "/machines/web")
    async with a_port(house, lab, web) as port:
        await guest(house, "address", "attach", ELASTIC, "web", "--mac", port.mac)
        assert f"{ELASTIC}  web      lab      {port.mac}" in await guest(house, "address", "list")
        assert ELASTIC in ip("route")
        assert ELASTIC in ip("neighbour", "show", "proxy")
        assert f"web {port.mac} 10.7.0.9" in await guest(house, "network", "show", "lab")
        refused = await daemon.client.delete("/networks/lab")
        assert refused.json()["error"]["value"] == "web"
        await guest(house, "address", "detach", ELASTIC)
        assert ELASTIC not in ip("route") + ip("neighbour", "show", "proxy")
    await guest(house, "address", "release", ELASTIC, "--yes")


def test_what_others_take_away_comes_back(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as house:
            tag = links.tag_of(house.home.resolve())
            link = f"gh{tag}-1"
            async with a_daemon(house, networks=True) as daemon:
                await until_ready(daemon)
                await guest(house, "network", "show", "default")
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
