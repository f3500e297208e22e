"""What an instance shows: the end of its console, and its screen."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.rows import Call
from guesthouse.formats.cloudids import ec2_id
from guesthouse.formats.pictures import jpeg

CONSOLE_BYTES = 64 * 1024


async def console_output(call: Call) -> Mapping[str, Any]:
    """The end of what the instance wrote to its serial console, up to now."""
    stock = await call.stock("machines")
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    said = await call.engine.inside.log(call.asker, machine.id, CONSOLE_BYTES)
    return {
        "InstanceId": ec2_id("i", machine.id),
        "Timestamp": stock.at,
        "Output": base64.b64encode(said).decode() or None,
    }


async def console_screenshot(call: Call) -> Mapping[str, Any]:
    """What the instance's screen shows, as JPG."""
    stock = await call.stock("machines")
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    picture = await call.engine.inside.screenshot(call.asker, machine.id)
    written = await asyncio.to_thread(jpeg, picture)
    return {"InstanceId": ec2_id("i", machine.id), "ImageData": base64.b64encode(written).decode()}
