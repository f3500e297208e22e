"""Who freezes and restores on this box: only the like of it can go on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guesthouse.host.capabilities import Emulator
from guesthouse.host.kvm import Kvm


class Fingerprint(NamedTuple):
    """Accelerator, QEMU's version, and the processor where the guest sees it."""

    accelerator: str
    qemu: tuple[int, ...]
    processor: str

    def __str__(self) -> str:
        parts = (self.accelerator, f"QEMU {'.'.join(map(str, self.qemu))}", self.processor)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class ThisBox:
    """QEMU and KVM as they are here and now."""

    emulator: Emulator
    kvm: Kvm

    async def fingerprint(self) -> Fingerprint:
        accelerator = await self.kvm.accelerator()
        version = (await self.emulator.capabilities()).version
        return Fingerprint(accelerator, version, _processor() if accelerator == "kvm" else "")


def _processor() -> str:
    """The processor as the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
