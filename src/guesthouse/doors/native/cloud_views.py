"""What the rows of clouds' doors show: which are open, and the keys to sign with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guesthouse.doors.native import documents as d
from guesthouse.doors.native.rows import Call, NoParams
from guesthouse.model.dialect import AccessKey, OpenDoor


async def doors(call: Call[NoParams]) -> Sequence[OpenDoor]:
    return call.door.clouds.doors()


async def door(call: Call[d.OfDoor]) -> OpenDoor:
    return call.door.clouds.show(call.params.door)


async def open_door(call: Call[d.OfDoor]) -> OpenDoor:
    return await call.door.clouds.open(call.params.door, call.body.listen, tls=call.body.tls)


async def shut_door(call: Call[d.OfDoor]) -> None:
    await call.door.clouds.shut(call.params.door)


async def access_keys(call: Call[NoParams]) -> Sequence[AccessKey]:
    return await call.engine.views.access_keys(call.asker)


async def access_key(call: Call[d.OfAccessKey]) -> d.AccessKeyDocument:
    key = await call.engine.views.access_key(call.asker, call.params.access_key)
    secret = await call.engine.access.secret(key.name)
    return d.AccessKeyDocument(**msgspec.structs.asdict(key), secret=secret)
