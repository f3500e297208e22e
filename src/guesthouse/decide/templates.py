"""Whether a machine can be forked from a template.

Rules
-----
1. All that the guest saw of its hardware before it was frozen must be wanted of the fork: what it will see more (NICs,
   disks, the seed) is plugged into it.
2. The root disk of a fork is a layer on the template's: it must be new, on the template's image, thin and qcow2,
   and sit where the template's sat.
3. The gate ends when the guest sees what it is to be configured by: its seed disk, or its NICs. So a template is for
   machines with the same datasource, of which its firmware has told the guest, too.
"""

from __future__ import annotations

import msgspec

from guesthouse.model.machine import Bus, DiskSpec, Encoding, MachineSpec, OnShutdown
from guesthouse.model.metadata import MetadataOptions
from guesthouse.model.resources import Image, Template

HARDWARE = ("vcpus", "memory_mib", "firmware", "rng", "vmgenid", "balloon", "agent", "screen", "datasource")
_ROOT = DiskSpec()


def hardware(spec: MachineSpec) -> MachineSpec:
    """What a template keeps of a description: nothing that is one machine's own."""
    return msgspec.structs.replace(
        spec,
        nics=(),
        disks=(),
        user_data="",
        user_data_encoding=Encoding.TEXT,
        metadata=MetadataOptions(),
        ssh_keys=(),
        labels={},
        autostart=False,
        spot=False,
        on_interruption=OnShutdown.DELETE,
        apart="",
        protected=False,
        on_shutdown=OnShutdown.STOP,
        type="",
    )


def fits(template: Template, image: Image, spec: MachineSpec) -> bool:
    """Whether a machine that is launched with this description may be a fork of the template."""
    if any(getattr(template.spec, name) != getattr(spec, name) for name in HARDWARE):
        return False
    if any(disk.bus is Bus.IDE for disk in spec.disks):
        return False
    return not image.disk or (bool(spec.disks) and _is_plain_root(spec.disks[0]))


def _is_plain_root(disk: DiskSpec) -> bool:
    return disk == msgspec.structs.replace(_ROOT, size_mib=disk.size_mib, keep=disk.keep)
