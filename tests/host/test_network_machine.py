"""A real machine on a network: it asks for its address, and is reached by it."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import pytest
from tests.bare_qemu import Machine, running
from tests.host.nets import (
    HOST,
    OUTSIDE,
    a_house_with_networks,
    a_network,
    ask,
    left,
    listener,
    on_a_host,
    outside,
    serving,
)

from guesthouse.host.images.built import BuiltImage
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkMode

pytestmark = pytest.mark.vm
IN_THE_GUEST = "import socket; print(socket.create_connection(({0!r}, 80), 600).recv(99).decode(), end='', flush=True)"


def _in_the_guest(machine: Machine) -> str:
    """What the guest hears from the outside."""
    program = ["-c", IN_THE_GUEST.format(OUTSIDE)]
    asked = {"path": "/usr/bin/python3", "arg": program, "capture-output": True}
    pid = machine.agent.ask("guest-exec", **asked)["pid"]
    while not (result := machine.agent.ask("guest-exec-status", pid=pid))["exited"]:
        pass
    return base64.b64decode(result.get("out-data", "")).decode()


def test_a_machine_asks_for_its_address_and_is_reached_by_it(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        asked = nat.port(1, forwards=(Forward(host_port=2222, guest_port=22),))
        async with outside() as there, a_house_with_networks() as (_, networks):
            await networks.apply(nat.wanted)
            tap = await networks.open_tap(nat.wanted, asked.port)
            options = ("-netdev", f"tap,id=n,fd={tap}", "-device", f"virtio-net-pci,netdev=n,mac={asked.port.mac}")
            with running(micro_image, options, inherited=(tap,)) as machine:
                os.close(tap)
                await asyncio.to_thread(machine.wait_until_configured)
                assert [each.address for each in networks.leases(nat.network)] == ["10.0.0.11"]
                assert (await ask(None, "10.0.0.11", 22)).startswith("SSH-2.0-")
                assert (await ask(there, HOST, 2222)).startswith("SSH-2.0-")
                async with serving({"outside": listener(there, 80)}):
                    assert await asyncio.to_thread(_in_the_guest, machine) == f"outside from {HOST}\n"
                await networks.remove(nat.network)
                assert left() == []

    on_a_host(tmp_path, look)
