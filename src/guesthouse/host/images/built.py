"""What building or importing an image leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuiltImage:
    """A folder with the files of an image; `disk`, `kernel` and `initrd` are names inside it, None where absent.

    An image with a kernel starts by direct kernel boot with `cmdline`; one without a disk runs from memory.
    `os` is the system's short name (`debian`), `version` its own words for its version (`12.11`). `note` is what
    whoever builds it should know.
    """

    folder: Path
    disk: str | None
    kernel: str | None
    initrd: str | None
    cmdline: str
    os: str
    version: str
    note: str = ""
