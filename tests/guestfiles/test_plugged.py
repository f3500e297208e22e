"""Devices of a scratch guest's slots: given to their drivers when all are there, in order."""

from __future__ import annotations

import pytest

from guesthouse.guestfiles.micro.firstboot.plugged import Plugged

from .conftest import ScratchGuest

SLOTS, DEVICES, VIRTIO = "/sys/bus/pci/slots", "/sys/bus/pci/devices", "/sys/bus/virtio"
HELD, FREE = ("told", f"{VIRTIO}/drivers_autoprobe", "0"), ("told", f"{VIRTIO}/drivers_autoprobe", "1")


def probed(*names: str) -> list[tuple[object, ...]]:
    return [("told", f"{VIRTIO}/drivers_probe", name) for name in names]


@pytest.fixture
def slots(guest: ScratchGuest) -> ScratchGuest:
    """A guest with empty slots 1, 2, 10, 11."""
    for bus in (1, 2, 10, 11):
        fill(guest, bus, full=False)
        guest.write(f"{SLOTS}/0-{bus}/address", f"0000:{bus:02x}:00\n".encode())
    return guest


def fill(guest: ScratchGuest, bus: int, *, full: bool = True) -> None:
    guest.write(f"{SLOTS}/0-{bus}/adapter", b"1\n" if full else b"0\n")


def come(guest: ScratchGuest, bus: int, name: str = "", vendor: str = "0x1af4") -> None:
    """The kernel sees the device in a slot; `name` is what it calls a virtio device."""
    guest.write(f"{DEVICES}/0000:{bus:02x}:00.0/vendor", f"{vendor}\n".encode())
    if name:
        guest.folder(f"{DEVICES}/0000:{bus:02x}:00.0/{name}")
        guest.folder(f"{VIRTIO}/devices/{name}")


def test_all_are_waited_for_and_let_in_by_their_addresses(slots: ScratchGuest) -> None:
    devices = Plugged(slots)
    for bus in (1, 2, 10, 11):
        fill(slots, bus)
    for bus, name in ((11, "virtio3"), (10, "virtio4"), (2, "virtio5")):
        come(slots, bus, name)
        devices.let_in()
    assert slots.kernel == [HELD]
    come(slots, 1)
    devices.let_in()
    assert slots.kernel == [HELD]
    come(slots, 1, "virtio6")
    devices.let_in()
    assert slots.kernel == [HELD, *probed("virtio6", "virtio5", "virtio4", "virtio3")]


def test_a_device_of_another_kind_has_a_driver_already(slots: ScratchGuest) -> None:
    devices = Plugged(slots)
    fill(slots, 1)
    fill(slots, 2)
    come(slots, 2, "virtio3")
    come(slots, 1, vendor="0x8086")
    devices.let_in()
    assert slots.kernel == [HELD, *probed("virtio3")]


def test_what_comes_later_is_let_in_later_and_what_was_there_is_left_alone(slots: ScratchGuest) -> None:
    fill(slots, 1)
    come(slots, 1, "virtio2")
    devices = Plugged(slots)
    for bus, name in ((11, "virtio3"), (2, "virtio4")):
        fill(slots, bus)
        come(slots, bus, name)
        devices.let_in()
        devices.let_in()
    assert slots.kernel == [HELD, *probed("virtio3", "virtio4")]


def test_what_the_kernel_is_not_ready_for_is_let_in_with_the_next_event(slots: ScratchGuest) -> None:
    devices = Plugged(slots)
    for bus, name in ((1, "virtio3"), (2, "virtio4")):
        fill(slots, bus)
        come(slots, bus, name)
    slots.refused = ["virtio3"]
    devices.let_in()
    assert slots.kernel == [HELD, *probed("virtio4")]
    devices.let_in()
    devices.let_in()
    assert slots.kernel == [HELD, *probed("virtio4", "virtio3")]
    slots.refused = ["virtio5"]
    slots.folder(f"{VIRTIO}/devices/virtio5")
    devices.let_go()
    assert slots.kernel[3:] == [FREE, *probed("virtio3", "virtio4")]


def test_nothing_stays_without_a_driver(slots: ScratchGuest) -> None:
    devices = Plugged(slots)
    come(slots, 1, "virtio2")
    slots.folder(f"{VIRTIO}/devices/virtio2/driver")
    come(slots, 11, "virtio3")
    devices.let_go()
    assert slots.kernel == [HELD, FREE, *probed("virtio3")]


def test_a_kernel_without_slots_has_nothing_to_let_in(guest: ScratchGuest) -> None:
    devices = Plugged(guest)
    devices.let_in()
    devices.let_go()
    assert guest.kernel == [HELD, FREE]
