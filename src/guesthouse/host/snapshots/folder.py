"""The folder of a snapshot, and what is written in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.host.frozen.box import Fingerprint
from guesthouse.host.stages import Kept
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.machine import MachineSpec
from guesthouse.qemu.placed import Placed


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to memory and devices: by whom they were saved, and what the process had and was.

    `networks` are the numbers of its networks by MAC address (`qemu.networks`); `forked` is said of the guest.
    """

    placed: Placed
    spec: MachineSpec
    by: Fingerprint
    boot_memory_mib: int
    stage: Kept
    networks: dict[str, int]
    forked: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshot.json``. `pause_ms` is how long the guest stood still, `memory_bytes` what its memory takes up.

    Memory and devices are one stream, `state`, of `memory_bytes`. With `devices_bytes` not 0 they have been settled:
    they are the file `memory`, and `devices` of that length. `held` memory lies in no file (`machines.keeping`).
    """

    pause_ms: int = 0
    memory_bytes: int = 0
    devices_bytes: int = 0
    held: bool = False
    saved: Saved | None = None

    @property
    def settled(self) -> bool:
        """Whether memory and devices lie in files of their own."""
        return self.devices_bytes > 0


@dataclass(frozen=True)
class SnapshotFolder:
    """Where the files of one snapshot lie."""

    path: Path

    @property
    def state(self) -> Path:
        """Memory and devices, as QEMU writes and reads them in one go."""
        return self.path / "state"

    @property
    def memory(self) -> Path:
        """The settled memory, byte by byte, with holes where there is nothing."""
        return self.path / "memory"

    @property
    def devices(self) -> Path:
        """The devices' state that belongs to the settled memory."""
        return self.path / "devices"

    @property
    def variables(self) -> Path:
        """The UEFI firmware's variables."""
        return self.path / "efivars.fd"

    @property
    def facts(self) -> Path:
        return self.path / "snapshot.json"

    def read_facts(self) -> Facts:
        """What is known of it; raises `Failed` when it is gone or damaged."""
        try:
            return msgspec.json.decode(self.facts.read_bytes(), type=Facts)
        except (OSError, msgspec.DecodeError) as error:
            raise Failed(f"snapshot {self.path.name} cannot be read: {error}") from error

    def read_saved(self, name: str, now: Fingerprint) -> Saved:
        """What is to be restored here; raises `Failed` when it is damaged, `Conflict` when this box cannot."""
        facts = self.read_facts()
        if facts.saved is None:
            raise Failed(f"snapshot {name} has no memory", subject=f"snapshot {name}")
        if not all(path.is_file() and path.stat().st_size == size for path, size in self._needed(facts, facts.saved)):
            raise Failed(f"the memory of snapshot {name} is gone or cut off", subject=f"snapshot {name}")
        if facts.saved.by != now:
            raise Conflict(
                f"snapshot {name} was taken by {facts.saved.by}; here is {now}",
                subject=f"snapshot {name}",
                hint="run what took it, or go back to its disks alone",
            )
        return facts.saved

    def _needed(self, facts: Facts, saved: Saved) -> tuple[tuple[Path, int], ...]:
        """The files that a restore takes, each with its size."""
        if facts.held:
            return ((self.devices, facts.devices_bytes),)
        if facts.settled:
            return (self.memory, saved.placed.memory_mib << 20), (self.devices, facts.devices_bytes)
        return ((self.state, facts.memory_bytes),)
