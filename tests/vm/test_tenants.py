"""Tenants' networks with real machines and a real daemon: groups, names, metadata, elastic addresses, overlaps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.host.nets import HOST, ask, left, on_a_host, outside
from tests.vm.houses import a_daemon, a_furnished_house, guest

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
ELASTIC = "203.0.113.49"
SSH = "SSH-2.0"
# What a program in the guest learns of itself, as the SDKs ask: a session first, then documents.
_WHO = """
import http.client
def ask(method, path, **headers):
    service = http.client.HTTPConnection("169.254.169.254", timeout=60)
    service.request(method, path, headers={"X-aws-ec2-metadata-" + name: value for name, value in headers.items()})
    answer = service.getresponse()
    return answer.read().decode() if answer.status == 200 else "none"
token = ask("PUT", "/latest/api/token", **{"token-ttl-seconds": "60"})
for name in ("local-hostname", "local-ipv4", "security-groups", "public-ipv4"):
    print(ask("GET", "/latest/meta-data/" + name, token=token).splitlines()[0])
"""


class Tenants:
    """A house on a host, and what its machines hear of each other."""

    def __init__(self, house: House, there: Namespace) -> None:
        self.house, self.there = house, there

    async def guest(self, *words: str) -> str:
        return await guest(self.house, *words)

    async def inside(self, machine: str, line: str) -> str:
        return await self.guest("exec", machine, "--", "sh", "-c", line)

    async def hears(self, machine: str, address: str) -> bool:
        """Whether a machine comes to the SSH server of another."""
        said = await self.inside(machine, f"echo | nc -w 2 {address} 22 2>/dev/null | head -c 7")
        assert said in ("", SSH)
        return said == SSH

    async def is_heard_outside(self, address: str, port: int = 22, *, denied: bool = False) -> bool:
        return (await ask(self.there, address, port, denied=denied)).startswith(SSH)

    async def who(self, machine: str) -> list[str]:
        return (await self.guest("exec", machine, "--", "python3", "-c", _WHO)).split()


def test_tenants_live_beside_each_other(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def live() -> None:
        async with outside() as there, a_furnished_house(micro_image) as house:
            try:
                async with a_daemon(house, networks=True):
                    tenants = Tenants(house, there)
                    await _build(tenants)
                    await _groups(tenants)
                    await _elastic(tenants)
                    await _nat(tenants)
            finally:
                await clean(house)
            assert left() == []

    on_a_host(tmp_path, live)


async def _build(tenants: Tenants) -> None:
    """Two networks with the same addresses; machines are known by where they ask, and by name."""
    await tenants.guest("template", "create", "micro", "--memory", "128M")
    for network in ("one", "two"):
        await tenants.guest("network", "create", network, "--mode", "private")
        await tenants.guest("subnet", "create", network, "10.1.0.0/24")
    await tenants.guest("group", "create", "one", "db")
    for name, nic in (("a", "network=one"), ("b", "network=one,groups=db"), ("c", "network=two")):
        await tenants.guest("launch", "micro", "--name", name, "--memory", "128M", "--nic", nic)
    assert await asyncio.gather(*map(tenants.who, "abc")) == [
        ["a.one.guest.internal", "10.1.0.2", "default", "none"],
        ["b.one.guest.internal", "10.1.0.3", "db", "none"],
        ["c.two.guest.internal", "10.1.0.2", "default", "none"],
    ]
    assert "10.1.0.3" in await tenants.inside("a", "nslookup b.one.guest.internal 2>&1")
    assert "10.1.0.3" not in await tenants.inside("c", "nslookup b.one.guest.internal 2>&1; true")


async def _groups(tenants: Tenants) -> None:
    """What a group lets through is through at once; to whom it does not, nobody."""
    assert not await tenants.hears("a", "10.1.0.3")
    await tenants.guest("group", "rule", "add", "one", "db", "tcp:22", "--from", "default")
    assert await tenants.hears("a", "10.1.0.3")
    assert not await tenants.hears("b", "10.1.0.2")
    assert not await tenants.hears("c", "10.1.0.3")
    await tenants.guest("group", "rule", "remove", "one", "db", "tcp:22", "--from", "default")
    assert not await tenants.hears("a", "10.1.0.3")


async def _elastic(tenants: Tenants) -> None:
    """An elastic address leads to one machine, as far as its groups let it."""
    await tenants.guest("address", "pool", "add", "203.0.113.48/28")
    assert await tenants.guest("address", "allocate") == f"{ELASTIC}\n"
    await tenants.guest("address", "attach", ELASTIC, "c")
    assert not await tenants.is_heard_outside(ELASTIC, denied=True)
    await tenants.guest("group", "rule", "add", "two", "default", "tcp:22", "--from", "0.0.0.0/0")
    assert await tenants.is_heard_outside(ELASTIC)
    assert (await tenants.who("c"))[-1] == ELASTIC
    await tenants.guest("address", "detach", ELASTIC)
    assert not await tenants.is_heard_outside(ELASTIC, denied=True)


async def _nat(tenants: Tenants) -> None:
    """On a nat network: the host by its address, the outside by a forwarded port; a fork is another machine there."""
    await tenants.guest("launch", "micro", "--name", "web", "--memory", "128M", "--network", "default")
    await tenants.guest("forward", "add", "web", "2222:22")
    assert await tenants.is_heard_outside(HOST, 2222)
    assert not await tenants.is_heard_outside("10.100.0.2", denied=True)
    assert await tenants.guest("shell", "web", "--", "hostname") == "web\n"
    await tenants.guest("fork", "web", "--name", "www")
    assert await tenants.guest("shell", "www", "--", "hostname") == "www\n"
    assert await tenants.hears("www", "10.100.0.2")
    assert not await tenants.hears("a", "10.100.0.2")
    for machine in ("a", "b", "c", "web", "www"):
        await tenants.guest("delete", machine, "--yes")
    for network in ("one", "two"):
        await tenants.guest("network", "delete", network, "--yes")
