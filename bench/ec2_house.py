"""``python -m bench.ec2_house``: a house with its EC2 door open, on the host in memory that the tests have.

It prints how to ask it as a line of JSON; for each number on a line of its standard input it makes that many instances
more, beside the first, and says so; it ends with its input. Machines are written down, not launched: what is measured
is how they are told of.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import uuid
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from tests.hosts import FakeHost

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2.instances.view import KIND
from guesthouse.doors.ec2.server import serve
from guesthouse.engine import door_intents, intents, network_intents
from guesthouse.engine.engine import Engine, open_engine
from guesthouse.engine.hosts import Identity
from guesthouse.engine.intents import Asker, Intent
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.house import House
from guesthouse.model.machine import Stage
from guesthouse.model.network import NetworkMode
from guesthouse.store import SqlStore, open_store

EVERY = 10
"""So many instances have one with the role ``db``."""


async def main() -> None:
    host, listener = FakeHost(), socket.create_server(("127.0.0.1", 0))
    host.network_facts.refused = None
    with tempfile.TemporaryDirectory() as folder:
        place = House(Path(folder), Path(folder))
        async with (
            open_store(f"sqlite:///{place.database}") as store,
            open_engine(store, host, place, Identity("here", "boot"), Random(1)) as engine,
            serve(engine, listener),
        ):
            asker = await engine.access.local()
            said = await _furnish(engine, asker)
            _say({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}", **said})
            while line := await asyncio.to_thread(sys.stdin.readline):
                await _more(store, engine, asker, int(line))
                _say({})


def _say(said: dict[str, str]) -> None:
    print(json.dumps(said), flush=True)


async def _furnish(engine: Engine, asker: Asker) -> dict[str, str]:
    """An image, a network with a subnet, an access key."""
    await _done(engine, asker, intents.ImageBuild(recipe="micro"))
    (image,) = await engine.views.images(asker)
    await _done(engine, asker, network_intents.NetworkCreate(name="vpc", mode=NetworkMode.PRIVATE))
    subnet = await _done(engine, asker, network_intents.SubnetCreate(network="vpc", cidr="10.0.0.0/16"))
    key: Any = await engine.accept(asker, door_intents.AccessKeyCreate())
    return {
        "AWS_ACCESS_KEY_ID": key.name,
        "AWS_SECRET_ACCESS_KEY": await engine.access.secret(key.name),
        "AWS_DEFAULT_REGION": REGION,
        "IMAGE": ec2_id("ami", image.id),
        "SUBNET": ec2_id("subnet", subnet),
    }


async def _done(engine: Engine, asker: Asker, intent: Intent) -> str:
    """Ask for something and wait for it; the id of what was made."""
    (made,) = await engine.accept.together(asker, [door_intents.Piece(intent=intent)])
    await engine.views.ended(asker, [made.accepted], wait_s=60)
    return made.id


async def _more(store: SqlStore, engine: Engine, asker: Asker, count: int) -> None:
    """Write instances down that are as the first one that was launched, once that runs."""
    first = (await engine.views.machines(asker))[0]
    await engine.views.wait_machine(asker, first.id, until=Stage.CONFIGURED, wait_s=60)
    async with store.read() as tx:
        machine = (await tx.machines.select())[0]
        (disk,) = await tx.disks.select(machine=machine.id)
        (port,) = await tx.ports.select(machine=machine.id)
        (record,) = await tx.door_records.select(subject=machine.id, kind=KIND)
        begin = len(await tx.machines.scan())
    replace = msgspec.structs.replace
    async with store.write() as tx:
        for number in range(begin, begin + count):
            id, disk_id = _id(), _id()
            mac = ":".join(f"{byte:02x}" for byte in (0x52, 0x54, *number.to_bytes(4)))
            spec = replace(
                machine.spec,
                name=f"web-{number}",
                disks=tuple(replace(each, disk=disk_id) for each in machine.spec.disks),
                nics=tuple(replace(each, mac=mac) for each in machine.spec.nics),
                labels={"Name": f"web-{number}", "role": "db" if number % EVERY == 0 else "web"},
            )
            await tx.machines.insert(replace(machine, id=id, name=spec.name, spec=spec))
            await tx.disks.insert(replace(disk, id=disk_id, machine=id, name=f"disk-{number}"))
            address = f"10.0.{128 + (number >> 8)}.{number & 255}"
            await tx.ports.insert(
                replace(port, id=_id(), machine=id, mac=mac, address=address, number=port.number + number)
            )
            document = {**record.document, "reservation": f"r-{_id().replace('-', '')[:17]}"}
            await tx.door_records.insert(replace(record, id=_id(), name=_id(), subject=id, document=document))


def _id() -> str:
    return str(uuid.uuid4())


if __name__ == "__main__":
    asyncio.run(main())
