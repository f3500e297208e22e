"""The house's own way in: from within networks, whatever groups say."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.host.nets import Made, a_house_with_networks, a_machine, a_network, ask, listener, on_a_host, serving
from tests.patience import PATIENCE_S

from guesthouse.host.agent import Agent
from guesthouse.host.dialling import LocalStreams, targets
from guesthouse.host.machines.folder import Folder
from guesthouse.host.networks.local import LocalNetworks
from guesthouse.host.probe import Looker
from guesthouse.host.stages import Stages
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Stage
from guesthouse.model.network import Group, NetworkMode

SSH, WEB = 22, 80
ADDRESS = "10.7.0.11"


def a_closed_network(number: int, name: str) -> Made:
    """A tenant's network with two ports, in a group that lets nothing in; all of them have the same addresses."""
    made = a_network(number, name, NetworkMode.PRIVATE, "10.7.0.0/24")
    made.groups.append(Group(id=f"closed-{name}", project="p", network=made.network.id, name="closed"))
    for port in (1, 2):
        made.port(port, groups=(f"closed-{name}",))
    return made


def test_a_machine_is_entered_through_its_network(tmp_path: Path) -> None:
    async def live() -> None:
        async with a_house_with_networks() as (_, networks):
            one, two = a_closed_network(1, "one"), a_closed_network(2, "two")
            there = {each.machine: await a_machine(networks, made, each) for made in (one, two) for each in made.ports}
            streams = LocalStreams(networks)
            async with serving({f"SSH-2.0-{name}": listener(there[name], SSH) for name in ("one-1", "two-1")}):
                for made in (one, two):
                    async with streams.connect(made.network, ADDRESS, SSH) as stream:
                        assert await stream.receive() == f"SSH-2.0-{made.network.name}-1 from 10.7.0.1\n".encode()
                        await stream.send(b"echo")
                        assert await stream.receive() == b"echo"
                        await stream.end()
                        assert await stream.receive() == b""
                with pytest.raises(Conflict, match=r"10\.7\.0\.11 port 80 takes no connections"):
                    async with streams.connect(one.network, ADDRESS, WEB):
                        pass
                with pytest.raises(Conflict, match=r"10\.7\.0\.99 port 22 is not to be reached"):
                    async with streams.connect(one.network, "10.7.0.99", SSH):
                        pass
                assert await ask(there["one-2"], ADDRESS, SSH, denied=True) == "", "the group lets nobody in"
                await _becomes_reachable(networks, "one-1", tmp_path)
            assert targets(networks, "nobody", SSH) == []

    on_a_host(tmp_path, live)


async def _becomes_reachable(networks: LocalNetworks, machine: str, tmp_path: Path) -> None:
    """A guest without an agent, and without a forwarded port, is reachable by its SSH server."""
    told, folder = asyncio.Event(), Folder(tmp_path)
    stages = Stages(folder, 1.0, told.set)
    servers = partial(targets, networks, machine, SSH)
    looking = asyncio.create_task(Looker(folder, stages, Agent(folder), asyncio.Event(), servers).look(0))
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()
    assert stages.stage is Stage.REACHABLE
    looking.cancel()
