"""The numbers that QEMU gives to user-mode networks, by which a saved state finds each of them again.

QEMU numbers what it saves under one name in the order in which it came: one more than the greatest that is there. So
after unplugging there may be gaps, and a state with a gap is only taken by a QEMU with the same one.

Source: QEMU's migration/savevm.c, calculate_new_instance_id; net/slirp.c registers each network as ``slirp``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guesthouse.model.errors import NotFound
from guesthouse.qemu.devices import NicDevice
from guesthouse.qemu.devices.device import Mapping as Settings
from guesthouse.qemu.messages import Command
from guesthouse.qemu.placed import Placed

Numbers = Mapping[str, int]


def at_start(placed: Placed) -> dict[str, int]:
    """The numbers of a machine's networks, by MAC address, when it has just been started."""
    return {nic.mac: number for number, nic in enumerate(_user_mode(placed))}


def with_one_more(numbers: Numbers, mac: str) -> dict[str, int]:
    """The numbers when one more network has come."""
    others = {known: number for known, number in numbers.items() if known != mac}
    return {**others, mac: max(others.values(), default=-1) + 1}


def made_anew(numbers: Numbers) -> dict[str, int]:
    """Numbers beyond those that a state has: its networks go into the gaps, with their leases and connections."""
    beyond = max(numbers.values(), default=-1) + 1
    return {mac: beyond + number for mac, number in numbers.items()}


def backends(placed: Placed, hostname: str, numbers: Numbers, taps: Mapping[str, int]) -> Iterator[Settings]:
    """The networks in the order of their numbers, with something in each gap; then the TAPs, by MAC address.

    Raises `NotFound` when one of those is not there.
    """
    by_number = {numbers.get(nic.mac, number): nic for number, nic in enumerate(_user_mode(placed))}
    for number in range(max(by_number, default=-1) + 1):
        nic = by_number.get(number)
        yield nic.backend(hostname, "") if nic else {"type": "user", "id": _filler(number), "restrict": True}
    for nic in placed.nics:
        if nic.tap and nic.mac not in taps:
            raise NotFound(f"NIC {nic.mac} has no TAP", field="nics", value=nic.mac)
        if nic.tap:
            yield nic.backend(hostname, str(taps[nic.mac]))


def without_fillers(numbers: Numbers) -> Iterator[Command]:
    """Take away what was in the gaps; the numbers of the others stay."""
    taken = set(numbers.values())
    for number in range(max(taken, default=-1)):
        if number not in taken:
            yield Command("netdev_del", {"id": _filler(number)})


def _user_mode(placed: Placed) -> list[NicDevice]:
    return [nic for nic in placed.nics if not nic.tap]


def _filler(number: int) -> str:
    return f"filler{number}"
