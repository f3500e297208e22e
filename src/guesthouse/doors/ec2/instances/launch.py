"""RunInstances: from its arguments to machines.

Rules
-----
1. All that are asked for are made, or as many as there is room for, `MinCount` at least; they are one reservation.
2. A machine is called as its tag ``Name`` says, where that can be a name and nobody has it; else it gets one.
3. Machines get the key pair that is named, beside the project's own keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from guesthouse.catalog.ec2_types import DEFAULT, TYPES, InstanceType
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.instances import view
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import Invalid, NoCapacity, QuotaExceeded
from guesthouse.model.machine import DiskSpec, MachineSpec, NicSpec
from guesthouse.model.names import check_name

_NOUNS = (*view.NOUNS, "keys")
_GIB = 1024


async def run_instances(call: Call) -> Mapping[str, Any]:
    """Launch machines; the answer is their reservation."""
    least, most = call["MinCount"], call["MaxCount"]
    if not 1 <= least <= most:
        raise Fault("InvalidParameterValue", f"MinCount {least} and MaxCount {most}: from 1 on, the second not less")
    stock = await call.stock(*_NOUNS)
    reservation = f"r-{secrets.token_hex(9)[:17]}"
    pieces = [_piece(call, stock, reservation, index, alone=most == 1) for index in range(most)]
    made = await _as_many(call, pieces, least)
    after = await call.stock(*view.NOUNS)
    wanted = {ec2_id("i", id) for id in made}
    items = [item for item in view.instances(after) if item["InstanceId"] in wanted]
    (answer,) = view.reservations(after, items, {})
    return answer


async def _as_many(call: Call, pieces: Sequence[Piece], least: int) -> list[str]:
    """Launch all, or as many as can be had."""
    for count in range(len(pieces), least, -1):
        try:
            return await call.make(*pieces[:count])
        except (NoCapacity, QuotaExceeded):
            continue
    return await call.make(*pieces[:least])


def _piece(call: Call, stock: Stock, reservation: str, index: int, *, alone: bool) -> Piece:
    type_ = _type(call)
    image = ids.one(stock.images, "ami", ids.only(call["ImageId"], "ImageId"))
    tags = call.tags("instance")
    spec = MachineSpec(
        name=_name(stock, tags) if alone else "",
        image=image.id,
        type=type_.name,
        vcpus=type_.vcpus,
        memory_mib=type_.memory_mib,
        disks=_disks(call),
        nics=_nics(call, stock),
        user_data=_user_data(call),
        ssh_keys=_keys(call, stock),
        labels=tags,
    )
    document = {
        "reservation": reservation,
        "index": index,
        "key": call["KeyName"],
        "token": call["ClientToken"] or "",
        "image": ec2_id("ami", image.id),
        "type": type_.name,
        "tags": tags,
    }
    return Piece(intent=intents.Launch(spec=spec), kind=view.KIND, document=document)


def _type(call: Call) -> InstanceType:
    name = call["InstanceType"] or DEFAULT.name
    if name not in TYPES:
        raise Fault("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    return TYPES[name]


def _name(stock: Stock, tags: Mapping[str, str]) -> str:
    """The name that the tag ``Name`` says, "" where that cannot be one."""
    name = tags.get("Name", "").lower()
    try:
        check_name(name, "machine")
    except Invalid:
        return ""
    return "" if any(machine.name == name for machine in stock.machines.values()) else name


def _keys(call: Call, stock: Stock) -> tuple[str, ...]:
    if call["KeyName"] is None:
        return ()
    for key in stock.keys.values():
        if key.name == call["KeyName"]:
            return (key.public,)
    raise Fault("InvalidKeyPair.NotFound", f"The key pair '{call['KeyName']}' does not exist")


def _user_data(call: Call) -> str:
    from base64 import b64decode

    if not call["UserData"]:
        return ""
    try:
        return b64decode(call["UserData"], validate=True).decode()
    except ValueError:
        raise Fault("InvalidParameterValue", "Invalid BASE64 encoding of user data") from None


def _disks(call: Call) -> tuple[DiskSpec, ...]:
    found = []
    for number, mapping in enumerate(call["BlockDeviceMappings"] or ()):
        ebs = mapping.get("Ebs", {})
        name = "root" if number == 0 else f"data-{number}"
        found.append(DiskSpec(name=name, size_mib=ebs.get("VolumeSize", 0) * _GIB))
    return tuple(found)


def _nics(call: Call, stock: Stock) -> tuple[NicSpec, ...]:
    if call["SubnetId"] is None:
        return (NicSpec(),)
    subnet = ids.one(stock.subnets, "subnet", call["SubnetId"])
    groups = ids.several(stock.groups, "sg", call["SecurityGroupIds"] or ())
    return (
        NicSpec(
            network=subnet.network,
            subnet=subnet.id,
            address=call["PrivateIpAddress"] or "",
            groups=tuple(group.id for group in groups),
        ),
    )
