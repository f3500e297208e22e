"""RunInstances: from its arguments to machines.

Rules
-----
1. All that are asked for are made, or as many as there is room for, `MinCount` at least; they are one reservation.
2. A machine is called as its tag ``Name`` says, where that can be a name and nobody has it; else it gets one.
3. Machines get the key pair that is named, beside the project's own keys.
4. Where a launch template is named, it says what the request does not.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from guesthouse.catalog.ec2_types import DEFAULT
from guesthouse.doors.ec2 import ids, launch_templates, placement
from guesthouse.doors.ec2.images import find
from guesthouse.doors.ec2.instances import described, view
from guesthouse.doors.ec2.networks import launching
from guesthouse.doors.ec2.rows import DOOR, Call, tags_of_kind
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import NoCapacity, QuotaExceeded

NOUNS = (*view.NOUNS, "keys", "pools")
SPOT = "spot-instances-request"
TAGGED = {"instance": "", "volume": "disks", "network-interface": "ports", SPOT: ""}
"""What can be tagged as machines are made: the tables of what comes with them."""

MAX_AT_ONCE = 1000


async def run_instances(call: Call) -> Mapping[str, Any]:
    """Launch machines; the answer is their reservation."""
    least, most = call["MinCount"], call["MaxCount"]
    if most > MAX_AT_ONCE:
        raise Fault("InstanceLimitExceeded", f"{most} instances at once are too many: {MAX_AT_ONCE} at most")
    if not 1 <= least <= most:
        raise Fault("InvalidParameterValue", f"MinCount {least} and MaxCount {most}: from 1 on, the second not less")
    stock = await call.stock(*NOUNS)
    said = launch_templates.completed(stock, call.arguments)
    return await launch(call, stock, said, least, most)


async def launch(call: Call, stock: Stock, said: Mapping[str, Any], least: int, most: int) -> Mapping[str, Any]:
    """Launch so many machines as `said`; their reservation as the answer has it."""
    if await launching.make_default(call, stock, said):
        stock = await call.stock(*stock.nouns)
    reservation = f"r-{secrets.token_hex(9)[:17]}"
    pieces = [_piece(call, stock, said, reservation, index, alone=most == 1) for index in range(most)]
    made = await _as_many(call, pieces, least)
    after = await call.stock(*NOUNS)
    (answer,) = view.reservations(after, view.some(after, made), {})
    return answer


async def _as_many(call: Call, pieces: Sequence[Piece], least: int) -> list[str]:
    """Launch all, or as many as can be had: how many those are, rehearsals find out."""
    try:
        return await call.make(*pieces)
    except (NoCapacity, QuotaExceeded):
        if least == len(pieces):
            raise
    fitting, too_many = least, len(pieces)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        try:
            await call.engine.accept.together(call.asker, pieces[:middle], door=DOOR, rehearse=True)
            fitting = middle
        except (NoCapacity, QuotaExceeded):
            too_many = middle
    return await call.make(*pieces[:fitting])


def _piece(call: Call, stock: Stock, said: Mapping[str, Any], reservation: str, index: int, *, alone: bool) -> Piece:
    tags = {kind: tags_of_kind(said.get("TagSpecifications") or (), kind) for kind in TAGGED}
    image = find.ami(stock, ids.only(said.get("ImageId"), "ImageId"))
    document = {
        "reservation": reservation,
        "index": index,
        "key": said.get("KeyName"),
        "token": call["ClientToken"] or "",
        "image": ec2_id("ami", image.id),
        "type": said.get("InstanceType") or DEFAULT.name,
        "tags": tags["instance"],
        "spot": _spot(said),
        "hibernation": (said.get("HibernationOptions") or {}).get("Configured") or None,
        "placement_group": placement.group_named(stock, said.get("Placement") or {}),
    }
    return Piece(
        intent=intents.Launch(spec=described.described(stock, said, tags["instance"], alone=alone)),
        kind=view.KIND,
        document={name: value for name, value in document.items() if value is not None},
        beside={table: tags[kind] for kind, table in TAGGED.items() if table and tags[kind]},
    )


def _spot(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept of a spot request, None where there is none."""
    market = said.get("InstanceMarketOptions") or {}
    if not market:
        return None
    if (kind := market.get("MarketType")) != "spot":
        raise Fault("InvalidParameterValue", f"Value ({kind}) for parameter MarketType is invalid. It is spot")
    tags = tags_of_kind(said.get("TagSpecifications") or (), SPOT)
    found = {"price": (market.get("SpotOptions") or {}).get("MaxPrice"), "tags": tags}
    return {name: value for name, value in found.items() if value}
