"""Attributes of instances: telling one, and changing one.

Rules
-----
1. An attribute is a row of `ATTRIBUTES`: how it is told, and how it is changed where it can be.
2. One request changes one attribute. It ends when that is so.
3. Type and user-data change while the instance is stopped, as with EC2; the others at any time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.instances import described, view
from guesthouse.doors.ec2.networks import launching
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine import intents, network_intents, nic_intents
from guesthouse.engine.intents import Intent
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.machine import Machine, OnShutdown, Power
from guesthouse.model.network import Port

WAIT_S = 30
_TRUTHS = {"true": True, "false": False}

Change = Callable[[Stock, Machine, Any], Intent]


@dataclass(frozen=True)
class Attribute:
    """One attribute: its member in answers, how it is told, how it is changed, and whether only while stopped.

    `plain` ones can be changed by ``Attribute`` and ``Value``, too. `asked` is its member in requests.
    """

    member: str
    tell: Callable[[Stock, Machine], Any]
    change: Change | None = None
    stopped: bool = False
    plain: bool = True
    asked: str = ""


def _value(tell: Callable[[Machine], Any]) -> Callable[[Stock, Machine], Any]:
    return lambda stock, machine: {"Value": tell(machine)}


def _shown(member: str) -> Callable[[Stock, Machine], Any]:
    """A member as DescribeInstances has it."""
    return lambda stock, machine: view.instance(stock, machine, None)[member]


def _shown_value(member: str) -> Callable[[Stock, Machine], Any]:
    return lambda stock, machine: {"Value": view.instance(stock, machine, None)[member]}


def _changed(**fields: Callable[[Any], Any]) -> Change:
    """A change of the machine's description."""
    return lambda stock, machine, value: intents.Change(
        machine=machine.id, **{name: read(value) for name, read in fields.items()}
    )


def _truth(value: Any) -> bool:
    """A truth, in whatever way it was said."""
    if isinstance(value, bool):
        return value
    if str(value).lower() not in _TRUTHS:
        raise Fault("InvalidParameterValue", f"Value ({value}) for parameter value is invalid. It is true or false")
    return _TRUTHS[str(value).lower()]


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return described.user_data(value)
    if len(value) > described.MAX_USER_DATA_BYTES:
        raise Fault("InvalidParameterValue", f"User data is limited to {described.MAX_USER_DATA_BYTES} bytes")
    return bytes(value)


def _user_data(stock: Stock, machine: Machine, value: Any) -> Intent:
    text, encoding = described.written(_bytes(value))
    return intents.Change(machine=machine.id, user_data=text, user_data_encoding=encoding)


def _tell_user_data(machine: Machine) -> str | None:
    return base64.b64encode(machine.spec.user_data_bytes).decode() or None


def _groups(stock: Stock, machine: Machine, value: Any) -> Intent:
    """Other groups for the first NIC."""
    port = _first_port(stock, machine)
    groups = launching.groups_of(stock, port.network, value)
    return nic_intents.NicChange(machine=machine.id, nic=port.mac, groups=groups)


def _guarded(stock: Stock, machine: Machine, value: Any) -> Intent:
    """Whether the first NIC sends from its own addresses alone."""
    return network_intents.PortChange(port=_first_port(stock, machine).id, guarded=_truth(value))


def _first_port(stock: Stock, machine: Machine) -> Port:
    ports = stock.ports_of.get(machine.id, {})
    nic = machine.spec.nics[0] if machine.spec.nics else None
    if nic is None or nic.mac not in ports:
        raise Fault("InvalidParameterCombination", "The instance is on no network that has security groups")
    return ports[nic.mac]


def _kept(stock: Stock, machine: Machine, value: Any) -> Intent:
    """Disks that are to go with the machine, or to stay."""
    by_device = {device: disk for disk, device in view.devices(machine.spec)}
    keep = {}
    for mapping in value:
        device = ids.only(mapping.get("DeviceName"), "BlockDeviceMapping.DeviceName")
        if device not in by_device:
            text = f"The instance has no device '{device}'; it has {', '.join(by_device)}"
            raise Fault("InvalidInstanceAttributeValue", text)
        going = ids.only((mapping.get("Ebs") or {}).get("DeleteOnTermination"), "Ebs.DeleteOnTermination")
        keep[by_device[device].name] = not going
    return intents.Change(machine=machine.id, keep=keep)


_type = _changed(type=lambda value: described.type_named(value).name)
_FALSE = {"Value": False}

ATTRIBUTES: dict[str, Attribute] = {
    "instanceType": Attribute("InstanceType", _shown_value("InstanceType"), _type, stopped=True),
    "userData": Attribute("UserData", _value(_tell_user_data), _user_data, stopped=True),
    "disableApiTermination": Attribute(
        "DisableApiTermination", _value(lambda machine: machine.spec.protected), _changed(protected=_truth)
    ),
    "instanceInitiatedShutdownBehavior": Attribute(
        "InstanceInitiatedShutdownBehavior",
        _value(lambda machine: "terminate" if machine.spec.on_shutdown is OnShutdown.DELETE else "stop"),
        _changed(on_shutdown=described.behaviour),
    ),
    "groupSet": Attribute("Groups", _shown("SecurityGroups"), _groups, plain=False),
    "blockDeviceMapping": Attribute("BlockDeviceMappings", _shown("BlockDeviceMappings"), _kept, plain=False),
    "sourceDestCheck": Attribute("SourceDestCheck", _shown_value("SourceDestCheck"), _guarded),
    "rootDeviceName": Attribute("RootDeviceName", _shown_value("RootDeviceName")),
    "ebsOptimized": Attribute("EbsOptimized", lambda stock, machine: _FALSE),
    "enaSupport": Attribute("EnaSupport", _shown_value("EnaSupport")),
    "disableApiStop": Attribute("DisableApiStop", lambda stock, machine: _FALSE),
    "enclaveOptions": Attribute("EnclaveOptions", lambda stock, machine: {"Enabled": False}),
    "productCodes": Attribute("ProductCodes", lambda stock, machine: []),
    "kernel": Attribute("KernelId", lambda stock, machine: {}),
    "ramdisk": Attribute("RamdiskId", lambda stock, machine: {}),
    "sriovNetSupport": Attribute("SriovNetSupport", lambda stock, machine: {}),
}
CHANGED = {name: row for name, row in ATTRIBUTES.items() if row.change is not None}


async def describe(call: Call) -> Mapping[str, Any]:
    """Tell one attribute."""
    stock = await call.stock(*view.NOUNS)
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    row = ATTRIBUTES[call["Attribute"]]
    return {"InstanceId": ec2_id("i", machine.id), row.member: row.tell(stock, machine)}


async def modify(call: Call) -> None:
    """Change one attribute."""
    name, value = _said(call)
    stock = await call.stock(*view.NOUNS)
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    row = CHANGED[name]
    if row.stopped and (machine.power is not Power.STOPPED or machine.status.pid):
        text = f"The instance '{call['InstanceId']}' is not in the 'stopped' state."
        raise Fault("IncorrectInstanceState", text)
    assert row.change is not None
    await call.do(row.change(stock, machine, value), wait_s=WAIT_S)


def _said(call: Call) -> tuple[str, Any]:
    """The attribute that is to be changed, by its name, with what it is to be."""
    said = {name: call[row.member] for name, row in CHANGED.items() if call[row.member] is not None}
    found = {name: value["Value"] if isinstance(value, Mapping) and "Value" in value else value
             for name, value in said.items()}  # fmt: skip
    if (named := call["Attribute"]) is not None and call["Value"] is not None:
        if named not in CHANGED or not CHANGED[named].plain:
            raise Fault("InvalidParameterValue", f"The attribute '{named}' cannot be changed by a value here")
        found[named] = call["Value"]
    if not found:
        raise Fault("InvalidParameterCombination", "No attributes specified.")
    if len(found) > 1:
        text = f"Fields for multiple attribute types specified: {', '.join(found)}"
        raise Fault("InvalidParameterCombination", text)
    return next(iter(found.items()))


async def modify_metadata(call: Call) -> Mapping[str, Any]:
    """Change what the metadata service does for an instance."""
    stock = await call.stock("machines")
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    members = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags")
    said = described.metadata_options({name: call[name] for name in members if call[name] is not None})
    if not said:
        raise Fault("MissingParameter", f"The request must contain one of the parameters {', '.join(members)}")
    change = intents.MetadataChange(**said)
    await call.do(intents.Change(machine=machine.id, metadata=change), wait_s=WAIT_S)
    after = (await call.stock("machines")).machines[machine.id]
    return {"InstanceId": ec2_id("i", machine.id), "InstanceMetadataOptions": described.metadata_options_of(after.spec)}
