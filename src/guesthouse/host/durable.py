"""Files that are whole or not there, whenever the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, mode: int = 0o600, group: int = -1, *, lasting: bool = True) -> None:
    """Write a file under a temporary name, make it durable, and put it in place of an older one.

    Without `lasting` nothing waits for the disk: readers find the older or the newer one, whole, but after a power
    cut perhaps an empty file. For what is said of running processes.
    """
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        if lasting:
            os.fdatasync(descriptor)
    partial.replace(path)
    if lasting:
        sync_folder(path.parent)


def put_in_place(partial: Path, path: Path) -> None:
    """Make a finished file durable and give it its name."""
    descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_end(path: Path, last_bytes: int) -> bytes:
    """The last bytes of a file; nothing of one that is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last_bytes))
            return file.read(last_bytes)
    except FileNotFoundError:
        return b""


def read_from(path: Path, start: int, last_bytes: int) -> bytes:
    """The end of what a file has from `start` on."""
    return read_end(path, min(last_bytes, max(0, path.stat().st_size - start)))


def keep_end(path: Path, limit_bytes: int, kept_bytes: int) -> None:
    """Shorten a log that another process appends to, in place, to its last `kept_bytes` when it is above the limit.

    The other process holds the file open with O_APPEND, so the file itself must stay. What it writes between
    our reading and truncating is lost: a log is no place for what must not be.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        if size <= limit_bytes:
            return
        end = os.pread(descriptor, kept_bytes, size - kept_bytes)
        file.truncate(0)
        file.write(end)
