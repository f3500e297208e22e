"""Twenty forks of one template, all there at the same time: no two of them share a name, a key or a random number."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack

import pytest
from tests.host.boxes import changed, qemus
from tests.host.shelves import Shelf, configured

from guesthouse.host.local import LocalHost, open_host
from guesthouse.model.machine import NicSpec, Power

pytestmark = pytest.mark.vm

COUNT = 20
# So many boot at a time: each that is configured stands still, and takes memory only.
AT_A_TIME = 4
_RANDOM_BYTES = 64
_OWN = (
    "hostname",
    "cat /etc/machine-id",
    "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-ed25519",
    f"head -c {_RANDOM_BYTES} /dev/urandom | base64 -w0; echo",
    "cat /proc/sys/kernel/random/uuid",
)


async def test_many_forks_at_once_are_as_many_machines(shelf: Shelf) -> None:
    async with open_host(shelf.house) as host, AsyncExitStack() as stack:
        turns = asyncio.Semaphore(AT_A_TIME)

        async def one(number: int) -> list[str]:
            async with turns:
                return await own(shelf, host, stack, number)

        said = await asyncio.gather(*map(one, range(COUNT)))
        assert len(qemus(shelf.house)) == COUNT
    names, *others = zip(*said, strict=True)
    assert names == tuple(f"m{number}" for number in range(COUNT))
    for values in others:
        assert len(set(values)) == COUNT
    streams = [base64.b64decode(stream) for stream in others[2]]
    assert {len(stream) for stream in streams} == {_RANDOM_BYTES}
    # Nor does a part of one come in another.
    parts = [stream[at : at + 8] for stream in streams for at in range(0, _RANDOM_BYTES, 8)]
    assert len(set(parts)) == len(parts)


async def own(shelf: Shelf, host: LocalHost, stack: AsyncExitStack, number: int) -> list[str]:
    """Fork one machine, and leave it standing still when it has said what it has for itself."""
    nic = NicSpec(mac=f"52:54:00:00:02:{number:02x}")
    guest = await stack.enter_async_context(configured(shelf, host, shelf.fork(f"m{number}", nics=(nic,))))
    said = (await guest.run("sh", "-c", "; ".join(_OWN))).splitlines()
    assert len(said) == len(_OWN), said
    assert await guest.want(changed(guest.desired, power=Power.PAUSED)) == ["pause"]
    return said
