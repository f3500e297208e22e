"""Memory files: memory that processes share by descriptors, and that nobody can write to once it is sealed.

Source: memfd_create(2); fcntl(2), F_ADD_SEALS.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# F_ADD_SEALS and its seals, of linux/fcntl.h: the module fcntl has no names for them.
_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8  # no more seals, no shrinking, no growing, no writing


def memory_name(id: str) -> str:
    """What the memory file of a template or a snapshot is called."""
    return f"frozen-{id}"


def memory_file(id: str, size_bytes: int) -> int:
    """A memory file full of zeros, which can be sealed."""
    memory = os.memfd_create(memory_name(id), os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.truncate(memory, size_bytes)
    return memory


def seal(memory: int) -> None:
    """Have nobody write to a memory file ever after. Raises `OSError` while somebody has it mapped for writing."""
    fcntl.fcntl(memory, _ADD_SEALS, _SEALS)


def memory_of(pid: int, id: str = "") -> Iterator[int]:
    """The memory files that a process has, all or those of that id, as descriptors of our own."""
    with contextlib.suppress(FileNotFoundError, PermissionError):  # it has ended, or is not ours to look into
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if path.readlink().name.startswith(f"memfd:{memory_name(id)}"):
                    yield os.open(path, os.O_RDWR | os.O_CLOEXEC)
