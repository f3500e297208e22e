"""Which device sits where: `place(spec, previous)`.

Rules
-----
1. The same input gives the same tree, and placing a placed machine again changes nothing.
2. A device that stays keeps its address, even where a newer table below says otherwise; so does the machine
   type. What is new takes the first free seat of its kind; the seat of what is gone is free again.
3. What is in every machine, and whatever cannot be plugged, has a fixed slot of the root bus (`BUILT_IN`).
4. Disks and NICs sit on seats (`SEATS`): root ports one device each, logical units of one SCSI controller,
   ports of the AHCI controller. Disks are known by `DiskSpec.disk`, NICs by their MAC address.
5. NICs fill the first slot of root ports first, disks the second, so that each kind is enumerated by the guest
   in the order of the spec; either goes on in the other's slot when its own is full. Only the first slot's
   ports have the I/O ports that an e1000 needs.
6. The SCSI controller takes a seat with the first SCSI disk and stays for good.

The root bus of q35: 0 host bridge, 1 screen, 2 and 3 root ports, 4 channels, 5 rng, 6 balloon, 7 USB, 31 the
chipset with AHCI.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from guesthouse.model.errors import Invalid
from guesthouse.model.machine import Bus, Datasource, DiskSpec, MachineSpec, NicModel, NicSpec
from guesthouse.qemu.devices import (
    E1000,
    AnyDevice,
    Balloon,
    Channel,
    ChannelController,
    Device,
    DiskDevice,
    GenerationId,
    IdeDisk,
    Rng,
    RootPort,
    Screen,
    ScsiController,
    ScsiDisk,
    Seated,
    Seed,
    SerialConsole,
    Tablet,
    UsbController,
    VirtioDisk,
    VirtioNet,
)
from guesthouse.qemu.devices.disk import short
from guesthouse.qemu.placed import Placed

ROOT_PORTS = 16
IO_PORTS = 8
SEED_SEAT = ROOT_PORTS - 1


class SeatRow(NamedTuple):
    """Seats of one kind: how many, what they are to people, and what to do when they are full."""

    seats: int
    name: str
    hint: str


SEATS: dict[str, SeatRow] = {
    "port": SeatRow(SEED_SEAT, "PCI Express ports", "put disks on bus scsi, which takes 64 on one port"),
    "lun": SeatRow(64, "SCSI units", "make fewer, larger disks"),
    "ahci": SeatRow(6, "IDE ports", "put the others on bus virtio or scsi"),
}

NIC_ORDER = tuple(range(SEED_SEAT))
DISK_ORDER = (*range(IO_PORTS, SEED_SEAT), *range(IO_PORTS))


class BuiltInRow(NamedTuple):
    """A device that a machine has at its fixed place when `wanted` says so."""

    device: AnyDevice
    wanted: Callable[[MachineSpec], bool] = lambda spec: True


BUILT_IN: tuple[BuiltInRow, ...] = (
    BuiltInRow(SerialConsole(id="serial0")),
    BuiltInRow(Screen(id="screen", slot=1), lambda spec: spec.screen),
    *(
        BuiltInRow(RootPort(id=f"port{n}", number=n, slot=2 + n // 8, function=n % 8, io=n < IO_PORTS))
        for n in range(ROOT_PORTS)
    ),
    BuiltInRow(ChannelController(id="channels", slot=4)),
    BuiltInRow(Channel(id="agent-channel", name="org.qemu.guest_agent.0", number=1), lambda spec: spec.agent),
    BuiltInRow(Channel(id="report-channel", name="org.guesthouse.report.0", number=2)),
    BuiltInRow(Rng(id="rng", slot=5), lambda spec: spec.rng),
    BuiltInRow(Balloon(id="balloon", slot=6), lambda spec: spec.balloon),
    BuiltInRow(GenerationId(id="generation"), lambda spec: spec.vmgenid),
    BuiltInRow(UsbController(id="usb", slot=7), lambda spec: spec.screen),
    BuiltInRow(Tablet(id="tablet"), lambda spec: spec.screen),
    BuiltInRow(Seed(id="seed", seat=SEED_SEAT), lambda spec: spec.datasource is Datasource.SEED),
)

_NICS: dict[NicModel, type[VirtioNet | E1000]] = {NicModel.VIRTIO: VirtioNet, NicModel.E1000: E1000}
_DISKS: dict[Bus, type[VirtioDisk | ScsiDisk | IdeDisk]] = {
    Bus.VIRTIO: VirtioDisk,
    Bus.SCSI: ScsiDisk,
    Bus.IDE: IdeDisk,
}
_ORDERS: dict[type[Device], Sequence[int]] = {
    VirtioNet: NIC_ORDER,
    E1000: NIC_ORDER[:IO_PORTS],
    VirtioDisk: DISK_ORDER,
    ScsiController: NIC_ORDER[::-1],
    ScsiDisk: range(SEATS["lun"].seats),
    IdeDisk: range(SEATS["ahci"].seats),
}
_CONTROLLER = "scsi"

AnySeated = TypeVar("AnySeated", bound=Seated)


def place(spec: MachineSpec, previous: Placed | None = None, *, machine_type: str) -> Placed:
    """The device tree of a machine; `previous` is the one it had before, if any.

    Every disk must be named by its id and every NIC have its MAC address. `machine_type`, with its version,
    is that of a machine placed for the first time. Raises `Invalid` naming `disks` or `nics` when one is named
    twice, or when there are more than fit.
    """
    _check(spec)
    kept = {device.id: device for device in previous.devices} if previous else {}
    built_in = [_keep(kept, row.device) for row in BUILT_IN if row.wanted(spec)]
    return Placed(
        machine_type=previous.machine_type if previous else machine_type,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        devices=(*built_in, *_seated(spec, kept)),
    )


def disk_id(disk: str) -> str:
    """The id of the device for a disk resource."""
    return f"disk-{short(disk)}"


def nic_id(mac: str) -> str:
    """The id of the device for a MAC address."""
    return "nic-" + mac.replace(":", "").lower()


def _keep(kept: dict[str, AnyDevice], device: AnyDevice) -> AnyDevice:
    old = kept.get(device.id)
    return old if old is not None and type(old) is type(device) else device


class _Seats:
    """The seats that are free while newcomers choose; those who stay have theirs already."""

    def __init__(self, staying: Iterable[Seated]) -> None:
        self._taken = {(device.kind, device.seat) for device in staying}

    def take(self, kind: type[Seated], field: str) -> int:
        row = SEATS[kind.kind]
        for seat in _ORDERS[kind]:
            if (kind.kind, seat) not in self._taken:
                self._taken.add((kind.kind, seat))
                return seat
        raise Invalid(
            f"the machine has more {field} than fit: there are {len(_ORDERS[kind])} {row.name} for {kind.driver}",
            field=field,
            hint=row.hint,
        )


def _seated(spec: MachineSpec, kept: dict[str, AnyDevice]) -> list[AnyDevice]:
    nics = [(_staying(kept, nic_id(nic.mac), _NICS[nic.model]), nic) for nic in spec.nics]
    disks = [(_staying(kept, disk_id(disk.disk), _DISKS[disk.bus]), disk) for disk in spec.disks]
    controller = _staying(kept, _CONTROLLER, ScsiController)
    seats = _Seats(filter(None, (controller, *(old for old, _ in nics), *(old for old, _ in disks))))
    indices = _free_indices(old for old, _ in disks)
    if controller is None and any(disk.bus is Bus.SCSI for disk in spec.disks):
        controller = ScsiController(id=_CONTROLLER, seat=seats.take(ScsiController, "disks"))
    return [
        *_in_order(_nic(old, nic, seats) for old, nic in nics),
        *([controller] if controller else []),
        *_in_order(_disk(old, disk, seats, indices) for old, disk in disks),
    ]


def _staying(kept: dict[str, AnyDevice], id: str, kind: type[AnySeated]) -> AnySeated | None:
    old = kept.get(id)
    return old if isinstance(old, kind) else None


def _free_indices(staying: Iterable[DiskDevice | None]) -> Iterator[int]:
    taken = {disk.boot_index for disk in staying if disk is not None}
    return (index for index in range(1, 1000) if index not in taken)


def _nic(old: VirtioNet | E1000 | None, nic: NicSpec, seats: _Seats) -> VirtioNet | E1000:
    kind = _NICS[nic.model]
    seat = seats.take(kind, "nics") if old is None else old.seat
    return kind(id=nic_id(nic.mac), seat=seat, mac=nic.mac, tap=bool(nic.network))


def _disk(
    old: VirtioDisk | ScsiDisk | IdeDisk | None, disk: DiskSpec, seats: _Seats, indices: Iterator[int]
) -> VirtioDisk | ScsiDisk | IdeDisk:
    kind = _DISKS[disk.bus]
    return kind(
        id=disk_id(disk.disk),
        seat=seats.take(kind, "disks") if old is None else old.seat,
        boot_index=next(indices) if old is None else old.boot_index,
        disk=disk.disk,
        thin=disk.thin,
        cache=disk.cache,
    )


def _in_order(devices: Iterable[AnySeated]) -> list[AnySeated]:
    """By kind and seat, so that the tree does not depend on the way that led to it."""
    return sorted(devices, key=lambda device: (device.kind, device.seat))


def _check(spec: MachineSpec) -> None:
    for field, ids, missing in (
        ("disks", [short(disk.disk) for disk in spec.disks], "a disk without the id of its resource"),
        ("nics", [nic.mac.lower() for nic in spec.nics], "a NIC without a MAC address"),
    ):
        if not all(ids):
            raise Invalid(f"the machine has {missing}", field=field)
        for id, count in Counter(ids).items():
            if count > 1:
                raise Invalid(f"the machine names {id} {count} times", field=field, value=id, hint="name it once")
