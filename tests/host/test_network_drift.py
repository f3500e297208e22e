"""What others do to a network: it is noticed, and mended, and connections live on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.host.nets import (
    OUTSIDE,
    Made,
    a_house_with_networks,
    a_machine,
    a_network,
    connect,
    ip,
    listener,
    name_servers,
    on_a_host,
    outside,
    serving,
)
from tests.patience import PATIENCE_S

from guesthouse.host import fence
from guesthouse.host.networks import record
from guesthouse.host.networks.local import LocalNetworks, open_networks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import NetworkMode

Flow = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NETWORK = "net-1"


@asynccontextmanager
async def two_machines(networks: LocalNetworks) -> AsyncIterator[tuple[Made, list[Flow]]]:
    """A network with two machines, and two connections: from one to the other, and to the outside."""
    made = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
    async with outside() as there:
        one, two = [await a_machine(networks, made, made.port(number)) for number in (1, 2)]
        async with serving({"two": listener(two, 22), "outside": listener(there, 80)}):
            flows = [await connect(one, "10.0.0.12", 22), await connect(one, OUTSIDE, 80)]
            for reader, _ in flows:
                await reader.readline()
            try:
                yield made, flows
            finally:
                for _, writer in flows:
                    writer.close()


async def live(flows: list[Flow]) -> None:
    """All of the connections still carry what is said."""
    async with asyncio.timeout(PATIENCE_S):
        for reader, writer in flows:
            writer.write(b"still here\n")
            assert await reader.readline() == b"still here\n"


def _inside(*words: str) -> Callable[[LocalNetworks, Made], None]:
    def damage(networks: LocalNetworks, made: Made) -> None:
        subprocess.run(("ip", "netns", "exec", networks.namespace(made.network).name, *words), check=True)

    return damage


def _on_host(*words: str) -> Callable[[LocalNetworks, Made], None]:
    def damage(networks: LocalNetworks, made: Made) -> None:
        link = networks._site(made.network).link
        subprocess.run([word.format(link=link) for word in words], check=True)

    return damage


def _kill_the_name_server(networks: LocalNetworks, made: Made) -> None:
    process = networks._site(made.network).server.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


DAMAGE = {
    "the rules are flushed": _inside("nft", "flush", "ruleset"),
    "one rule is deleted": _inside("nft", "flush", "chain", "bridge", "guesthouse", "prerouting"),
    "a TAP is taken from its bridge": _inside("ip", "link", "set", "tap1", "nomaster"),
    "a bridge is deleted": _inside("ip", "link", "delete", "br1"),
    "a bridge is set down": _inside("ip", "link", "set", "br1", "down"),
    "the gateway loses its address": _inside("ip", "address", "flush", "dev", "br1"),
    "the way out is deleted": _inside("ip", "route", "delete", "default"),
    "the transit link is deleted": _on_host("ip", "link", "delete", "{link}"),
    "the host loses its route": _on_host("ip", "route", "delete", "10.0.0.0/24"),
    "the name server is killed": _kill_the_name_server,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_lost_is_noticed_and_comes_back(damage: str, tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (_, networks), two_machines(networks) as (made, flows):
            assert await networks.differs(made.wanted) == []
            news = networks.follow()
            DAMAGE[damage](networks, made)
            async with asyncio.timeout(PATIENCE_S):
                assert await anext(news) == NETWORK
            assert await networks.differs(made.wanted) != []
            await networks.apply(made.wanted)
            assert await networks.differs(made.wanted) == []
            await live(flows)

    on_a_host(tmp_path, look)


def test_a_lost_name_is_given_again(tmp_path: Path) -> None:
    """The kernel tells nobody of it; who looks sees it. The machines stay where they are."""

    async def look() -> None:
        async with a_house_with_networks() as (_, networks), two_machines(networks) as (made, flows):
            ip("netns", "delete", networks.namespace(made.network).name)
            assert await networks.differs(made.wanted) != []
            await networks.apply(made.wanted)
            assert await networks.differs(made.wanted) == []
            await live(flows)

    on_a_host(tmp_path, look)


def test_the_table_of_the_host_comes_back_by_itself(tmp_path: Path) -> None:
    async def look() -> None:
        changes = fence.listen()
        assert changes is not None
        with changes:
            async with a_house_with_networks() as (_, networks), two_machines(networks) as (_made, flows):
                subprocess.run(("nft", "flush", "ruleset"), check=True)
                async with asyncio.timeout(PATIENCE_S):
                    while not await networks.host.is_guarded():
                        await asyncio.get_running_loop().sock_recv(changes, 1 << 16)
                await live(flows)

    on_a_host(tmp_path, look)


def test_to_apply_again_changes_nothing(tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (_, networks), two_machines(networks) as (made, flows):
            namespace, servers = networks.namespace(made.network), name_servers()
            before = await _state(namespace)
            networks.sites()[NETWORK].suspect = True
            await networks.apply(made.wanted)
            assert (await _state(namespace), name_servers()) == (before, servers)
            await live(flows)

    on_a_host(tmp_path, look)


def test_what_was_just_applied_for_another_costs_nothing(tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (house, networks), two_machines(networks) as (made, _):
            kept = record.folder_of(house, NETWORK) / "wanted.json"
            before = kept.stat()
            await asyncio.gather(*(networks.apply(made.wanted) for _ in range(3)))
            assert kept.stat() == before, "it was written again"
            made.port(3)
            await networks.apply(made.wanted)
            assert kept.stat() != before

    on_a_host(tmp_path, look)


async def _state(namespace: Namespace) -> list[str]:
    """Links with their indexes, addresses, routes and rules, inside and on the host."""
    words = (("ip", "-o", "address"), ("ip", "-o", "link"), ("ip", "route"), ("nft", "-a", "-s", "list", "ruleset"))
    host = [subprocess.run(each, check=True, capture_output=True, text=True).stdout for each in words]
    return [*host, *[await namespace.run(*each) for each in words]]


def test_the_next_daemon_finds_everything_and_touches_nothing(tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (house, networks), two_machines(networks) as (made, flows):
            asked = made.port(3)
            await networks.apply(made.wanted)
            tap = await networks.open_tap(made.wanted, asked.port)
            namespace, servers = networks.namespace(made.network), name_servers()
            before = await _state(namespace)
            async with open_networks(house) as next_ones:
                assert next_ones.leases(made.network) == []
                await next_ones.apply(made.wanted)
                assert await next_ones.differs(made.wanted) == []
            after = await _state(namespace)
            assert after[:2] == before[:2]
            assert after[4:] == before[4:], "inside nothing is written again"
            assert (name_servers(), "tap3" in ip("link", namespace=namespace.name)) == (servers, True)
            os.close(tap)
            assert "tap3" not in ip("link", namespace=namespace.name)
            await live(flows)

    on_a_host(tmp_path, look)


def test_a_tap_that_is_held_is_not_taken(tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (_, networks):
            made = a_network(1, "only", NetworkMode.HOST_ONLY, "192.168.56.0/24")
            asked = made.port(1)
            await networks.apply(made.wanted)
            tap = await networks.open_tap(made.wanted, asked.port)
            with pytest.raises(Exception, match="tap1 is still held"):
                await networks.open_tap(made.wanted, asked.port)
            os.close(tap)
            os.close(await networks.open_tap(made.wanted, asked.port))

    on_a_host(tmp_path, look)


def test_that_a_machine_ends_is_no_reason_to_look_at_its_network(tmp_path: Path) -> None:
    async def look() -> None:
        async with a_house_with_networks() as (_, networks):
            made = a_network(1, "only", NetworkMode.HOST_ONLY, "192.168.56.0/24")
            asked = made.port(1)
            await networks.apply(made.wanted)
            assert await networks.differs(made.wanted) == []
            heard: list[str] = []
            networks.watch._hint = lambda network, rules_alone: heard.append(network)  # type: ignore[union-attr]
            os.close(await networks.open_tap(made.wanted, asked.port))
            ip("link", "set", "br1", "down", namespace=networks.namespace(made.network).name)
            async with asyncio.timeout(PATIENCE_S):
                while not heard:
                    assert await networks.differs(made.wanted) != []
            assert heard == [NETWORK], "once, for the bridge that is down"

    on_a_host(tmp_path, look)
