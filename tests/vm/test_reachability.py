"""Who reaches whom on a network of each mode: every cell of the guide's table, by connections of real guests.

A guest that is refused waits for its connection in vain; what is open answers in milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.host.nets import HOST, OUTSIDE, ask, bridge_the_uplink, left, listener, on_a_host, outside, serving
from tests.vm.houses import a_daemon, a_furnished_house, guest

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
PORT = 80
WAYS = ("machine to outside", "outside to machine", "machine to machine", "machine to host", "host to machine")


@dataclass(frozen=True)
class Mode:
    """A network to be tried: how it is made, where its machines are, and which of `WAYS` are open."""

    create: str
    addresses: tuple[str, str]
    opens: str
    own: bool = False


# An `own` address is one that the machine gives itself: on a bridge somebody else gives them.
MODES = {
    "nat": Mode("--mode nat --cidr 10.0.1.0/24", ("10.0.1.2", "10.0.1.3"), "yes no yes yes yes"),
    "bridge": Mode("--mode bridge --link lan0", ("203.0.113.11", "203.0.113.12"), "yes yes yes yes yes", own=True),
    "host-only": Mode("--mode host-only --cidr 10.0.2.0/24", ("10.0.2.2", "10.0.2.3"), "no no yes yes yes"),
    "private": Mode("--mode private", ("10.0.3.2", "10.0.3.3"), "yes no yes no no"),
}
FORWARD, ELASTIC = 2222, "203.0.113.49"
CELLS = [
    (name, way, told == "yes")
    for name, mode in MODES.items()
    for way, told in zip(WAYS, mode.opens.split(), strict=True)
]


def test_every_cell_of_the_table(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def live() -> None:
        async with outside() as there, a_furnished_house(micro_image) as house:
            bridge_the_uplink()
            try:
                async with a_daemon(house, networks=True):
                    await _try(house, there)
            finally:
                await clean(house)
            assert left() == []

    on_a_host(tmp_path, live)


async def _try(house: House, there: Namespace) -> None:
    await guest(house, "template", "create", "micro", "--memory", "128M")
    for name in MODES:
        await _make(house, name)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving({"outside": listener(there, PORT), "host": listener(None, PORT)}))
        found = [(name, way, open_) for name in MODES for way, open_ in await _ways(house, there, name)]
        for name, way, open_ in found:
            print(f"{name:9}  {way:18}  {'yes' if open_ else 'no'}")
        assert found == CELLS
        await _exceptions(house, there)


async def _make(house: House, name: str) -> None:
    """A network of the mode with two machines, which listen for SSH."""
    mode = MODES[name]
    await guest(house, "network", "create", name, *mode.create.split())
    if name == "private":
        await guest(house, "subnet", "create", name, "10.0.3.0/24")
        await guest(house, "group", "rule", "add", name, "default", "tcp:22", "--from", "0.0.0.0/0")
    for number, address in enumerate(mode.addresses):
        machine = f"{name}-{number}"
        await guest(house, "launch", "micro", "--name", machine, "--memory", "128M", "--network", name)
        if mode.own:
            line = f"ip address add {address}/24 dev eth0; ip link set eth0 up; ip route replace default via {OUTSIDE}"
            await guest(house, "exec", machine, "--", "sh", "-c", line)


async def _ways(house: House, there: Namespace, name: str) -> list[tuple[str, bool]]:
    """Which ways are open on a network."""
    first, second = MODES[name].addresses
    machine = f"{name}-0"
    host = {"nat": "10.0.1.1", "host-only": "10.0.2.1"}.get(name, HOST)
    opens = dict(zip(WAYS, MODES[name].opens.split(), strict=True))
    tried = (
        _hears(house, machine, OUTSIDE, PORT, "outside"),
        _is_heard(there, first, opens["outside to machine"]),
        _hears(house, machine, second, 22, "SSH-2.0"),
        _hears(house, machine, host, PORT, "host"),
        _is_heard(None, first, opens["host to machine"]),
    )
    return list(zip(WAYS, await asyncio.gather(*tried), strict=True))


async def _hears(house: House, machine: str, address: str, port: int, name: str) -> bool:
    line = f"sleep 3 | nc -w 2 {address} {port} 2>/dev/null | head -c {len(name)}"
    said = await guest(house, "exec", machine, "--", "sh", "-c", line)
    assert said in ("", name)
    return said == name


async def _is_heard(asker: Namespace | None, address: str, expected: str) -> bool:
    return (await ask(asker, address, 22, denied=expected == "no")).startswith("SSH-2.0")


async def _exceptions(house: House, there: Namespace) -> None:
    """What leads in where the table says no: a forwarded port, an elastic address."""
    await guest(house, "forward", "add", "nat-0", f"{FORWARD}:22")
    assert (await ask(there, HOST, FORWARD)).startswith("SSH-2.0")
    await guest(house, "address", "pool", "add", "203.0.113.48/28")
    await guest(house, "address", "allocate")
    for machine in ("private-0", "nat-1"):
        await guest(house, "address", "attach", ELASTIC, machine)
        assert (await ask(there, ELASTIC, 22)).startswith("SSH-2.0")
        await guest(house, "address", "detach", ELASTIC)
    for machine in _machines():
        await guest(house, "delete", machine, "--yes")


def _machines() -> Iterator[str]:
    return (f"{name}-{number}" for name in MODES for number in range(2))
