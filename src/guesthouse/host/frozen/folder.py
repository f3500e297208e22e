"""The folder of a template, and what is written in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from guesthouse.host.frozen.box import Fingerprint
from guesthouse.model.errors import Failed
from guesthouse.qemu.placed import Placed


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """``template.json``: the frozen tree, and by whom it was frozen: only the like of it can restore it."""

    placed: Placed
    by: Fingerprint
    boot_ms: int
    memory_bytes: int
    state_bytes: int


@dataclass(frozen=True)
class TemplateFolder:
    """Where the files of one template lie."""

    MEMORY: ClassVar[str] = "memory"

    path: Path

    @property
    def memory(self) -> Path:
        return self.path / self.MEMORY

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def root(self) -> Path:
        """What the guest had written to its root disk, on top of the image's."""
        return self.path / "root.qcow2"

    @property
    def facts(self) -> Path:
        return self.path / "template.json"

    def read_facts(self) -> Facts:
        """What is known of it; raises `Failed` when it is gone or damaged."""
        try:
            return msgspec.json.decode(self.facts.read_bytes(), type=Facts)
        except (OSError, msgspec.DecodeError) as error:
            raise Failed(
                f"template {self.path.name} cannot be read: {error}", hint="delete it and create it again"
            ) from error
