"""From which templates a machine can be forked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from guesthouse.decide.templates import HARDWARE, fits, hardware
from guesthouse.model.machine import (
    Bus,
    Cache,
    Datasource,
    DiskFormat,
    DiskSpec,
    Encoding,
    Firmware,
    Forward,
    MachineSpec,
    NicModel,
    NicSpec,
)
from guesthouse.model.metadata import MetadataOptions
from guesthouse.model.resources import Image, Template

MICRO = Image(id="m", project="p", name="micro", kernel="vmlinuz", initrd="initrd")
DEBIAN = Image(id="d", project="p", name="debian", disk="disk.qcow2", virtual_mib=2048)
ROOT = DiskSpec(size_mib=4096)
DATA = DiskSpec(name="data", size_mib=64)
WEB = MachineSpec(name="web", disks=(ROOT,))
TEMPLATE = Template(
    id="t", project="p", name="debian-1-512", image="d", spec=hardware(MachineSpec(name="debian-1-512"))
)

OTHERS: dict[str, Any] = {
    "vcpus": 2,
    "memory_mib": 1024,
    "firmware": Firmware.UEFI,
    "rng": False,
    "vmgenid": False,
    "balloon": False,
    "agent": False,
    "screen": True,
    "datasource": Datasource.METADATA,
}


def fork(**changes: Any) -> bool:
    """Whether a machine that differs from the plain one in this fits the template of the image with a disk."""
    return fits(TEMPLATE, DEBIAN, msgspec.structs.replace(WEB, **changes))


def test_the_same_hardware_fits() -> None:
    assert fork()


@pytest.mark.parametrize("name", OTHERS)
def test_other_hardware_does_not_fit(name: str) -> None:
    assert OTHERS[name] != getattr(WEB, name)
    assert not fork(**{name: OTHERS[name]})


def test_every_field_of_a_machine_is_hardware_or_its_own() -> None:
    """A new field must be put on one of the sides."""
    own = {"name", "image", "disks", "nics", "user_data", "ssh_keys", "labels", "autostart", "type"}
    own |= {"user_data_encoding", "metadata", "spot", "apart", "on_interruption", "protected", "on_shutdown"}
    assert set(HARDWARE) == set(OTHERS) == set(MachineSpec.__struct_fields__) - own


@pytest.mark.parametrize(
    "own",
    [
        {"nics": ()},
        {"nics": (NicSpec(), NicSpec(model=NicModel.E1000, forwards=(Forward(guest_port=80),)))},
        {"disks": (msgspec.structs.replace(ROOT, size_mib=100_000),)},
        {"disks": (ROOT, DATA, DiskSpec(name="unit", disk="old", bus=Bus.SCSI, cache=Cache.NONE))},
        {"user_data": "#cloud-config\n", "ssh_keys": ("ssh-ed25519 AAAA",), "labels": {"a": "b"}, "autostart": True},
        {"name": "other", "image": "debian"},
        {"user_data": "H4sI", "user_data_encoding": Encoding.BASE64, "metadata": MetadataOptions(enabled=False)},
    ],
)
def test_what_is_plugged_and_what_is_its_own_may_be_anything(own: dict[str, Any]) -> None:
    assert fork(**own)


@pytest.mark.parametrize(
    "root",
    [
        {"disk": "existing"},
        {"name": "data"},
        {"format": DiskFormat.RAW},
        {"thin": False},
        {"bus": Bus.SCSI},
        {"bus": Bus.IDE},
        {"cache": Cache.UNSAFE},
    ],
)
def test_a_root_disk_that_cannot_be_a_layer_on_the_frozen_one_does_not_fit(root: dict[str, Any]) -> None:
    assert not fork(disks=(msgspec.structs.replace(ROOT, **root),))


def test_the_root_disk_sits_where_the_frozen_one_sat() -> None:
    assert not fork(disks=(DATA, ROOT))
    assert not fork(disks=())


def test_a_template_is_for_one_datasource() -> None:
    asks = msgspec.structs.replace(WEB, datasource=Datasource.METADATA)
    template = msgspec.structs.replace(TEMPLATE, spec=hardware(asks))
    assert fits(template, DEBIAN, asks)
    assert not fits(template, DEBIAN, WEB)


def test_an_image_without_a_disk_leaves_all_disks_to_the_machine() -> None:
    template = msgspec.structs.replace(TEMPLATE, image="m")
    for disks in ((), (DATA,), (DiskSpec(disk="existing", format=DiskFormat.RAW),)):
        assert fits(template, MICRO, msgspec.structs.replace(WEB, disks=disks))


@pytest.mark.parametrize("image", [MICRO, DEBIAN])
def test_a_bus_without_hot_plug_does_not_fit(image: Image) -> None:
    disks = (ROOT, msgspec.structs.replace(DATA, bus=Bus.IDE))
    assert not fits(TEMPLATE, image, msgspec.structs.replace(WEB, disks=disks))


def test_a_template_keeps_nothing_that_is_one_machines_own() -> None:
    one = MachineSpec(
        name="web",
        image="debian",
        vcpus=2,
        disks=(ROOT,),
        user_data="#!/bin/sh\n",
        user_data_encoding=Encoding.BASE64,
        metadata=MetadataOptions(labels=True),
        ssh_keys=("k",),
        labels={"a": "b"},
        autostart=True,
    )
    assert hardware(one) == MachineSpec(name="web", image="debian", vcpus=2, nics=())
