"""What a QEMU can: its version, machine types and devices, as it told over QMP.

Asked once for each QEMU binary and kept: greeting, ``query-machines``, ``qom-list-types``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from guesthouse.model.errors import NoCapacity

OLDEST = (7, 2)
MACHINE = "q35"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """`machine_types` leads from a type or alias to the type with its version; `devices` are type names."""

    version: tuple[int, int, int]
    package: str = ""
    machine_types: dict[str, str] = {}
    devices: frozenset[str] = frozenset()

    @property
    def release(self) -> str:
        """The version for people: ``7.2.22``."""
        return ".".join(map(str, self.version))

    def machine_type(self, name: str = MACHINE) -> str:
        """The machine type with its version that `name` means (``q35`` → ``pc-q35-7.2``); raises `NoCapacity`."""
        try:
            return self.machine_types[name]
        except KeyError:
            raise NoCapacity(
                f"QEMU {self.release} has no machine type {name}",
                field="machine_type",
                value=name,
                hint=f"it has {', '.join(sorted(set(self.machine_types.values()))) or 'none'}",
            ) from None

    def require(self, drivers: Iterable[str]) -> None:
        """Raise `NoCapacity` naming the first of `drivers` that this QEMU does not have."""
        for driver in drivers:
            if driver not in self.devices:
                raise NoCapacity(
                    f"QEMU {self.release} has no device {driver}",
                    field="device",
                    value=driver,
                    hint="install the complete qemu-system-x86 package",
                )


def parse(
    greeting: Mapping[str, Any], machines: Sequence[Mapping[str, Any]], types: Sequence[Mapping[str, Any]]
) -> Capabilities:
    """Read the greeting's ``QMP`` object and the replies of ``query-machines`` and ``qom-list-types``.

    Raises `NoCapacity` when the QEMU is older than `OLDEST`.
    """
    told = greeting.get("QMP", greeting)["version"]
    number = told["qemu"]
    version = (int(number["major"]), int(number["minor"]), int(number["micro"]))
    if version[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise NoCapacity(
            f"QEMU {'.'.join(map(str, version))} is too old",
            field="qemu",
            value=".".join(map(str, version)),
            hint=f"install QEMU {oldest} or newer (Debian 12 has it)",
        )
    machine_types = {machine["name"]: machine["name"] for machine in machines}
    machine_types |= {machine["alias"]: machine["name"] for machine in machines if machine.get("alias")}
    return Capabilities(
        version=version,
        package=told.get("package", ""),
        machine_types=machine_types,
        devices=frozenset(entry["name"] for entry in types),
    )
