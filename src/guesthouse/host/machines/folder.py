"""A machine's folder: the names of its files, its sockets, and the record of its last start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM
from socket import socket as Socket

import msgspec

from guesthouse.host.durable import write_whole
from guesthouse.model.errors import Failed
from guesthouse.model.machine import Forward, MachineSpec, NicSpec
from guesthouse.qemu.placed import Placed

_BACKLOG = 8


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """``running.json``: what was started and has been changed since. It stays after the end of the process.

    `spec` is what the process realises: its NICs carry only the forwards that are set. `forwards` has them by
    MAC with the host's real ports, `forwards_before` those of the run before, to choose the same ports again.
    `networks` has the numbers of its networks by MAC (`qemu.networks`), `console_from` is where its part of the
    console's log begins.
    `forked`: its guest began as a fork of a template; `restored`: it went on from a snapshot; `unfinished`: it is about
    to, and has not all of this yet; `late`: the guest's clock stands where the snapshot left it; `nameless`: it still
    takes itself for the machine that it was forked from. `plugged` are the NICs, by MAC, that were
    plugged while it ran, or only begun to be.
    """

    placed: Placed
    spec: MachineSpec
    restart_epoch: int
    boot_memory_mib: int
    accelerator: str
    started_at: float
    forwards: dict[str, tuple[Forward, ...]] = {}
    forwards_before: dict[str, tuple[Forward, ...]] = {}
    networks: dict[str, int] = {}
    forked: bool = False
    restored: bool = False
    unfinished: bool = False
    nameless: bool = False
    late: bool = False
    console_from: int = 0
    plugged: dict[str, NicSpec] = {}


@dataclass(frozen=True)
class Folder:
    """Where the files of one machine lie."""

    path: Path

    @property
    def machine(self) -> str:
        """The id of the machine."""
        return self.path.name

    @property
    def seed(self) -> Path:
        return self.path / "seed.iso"

    @property
    def host_key(self) -> Path:
        """The private SSH host key; the public one beside it has `.pub`."""
        return self.path / "hostkey"

    @property
    def random_seed(self) -> Path:
        """Random bytes of the machine's own, for its seed."""
        return self.path / "random-seed"

    @property
    def record(self) -> Path:
        return self.path / "running.json"

    @property
    def forked(self) -> Path:
        """There once the machine has been forked from its template: it boots at every later start."""
        return self.path / "forked"

    @property
    def restored(self) -> Path:
        """The epoch of the last revert that a start has gone on from: every later start is a boot."""
        return self.path / "restored"

    @property
    def snapshotting(self) -> Path:
        """What is being done to the running machine for a snapshot, and must not stay if we are killed."""
        return self.path / "snapshotting.json"

    @property
    def stage(self) -> Path:
        return self.path / "stage.json"

    @property
    def lock(self) -> Path:
        """Locked with flock(2) by QEMU, or by whoever is about to become it."""
        return self.path / "run.lock"

    @property
    def pidfile(self) -> Path:
        """Locked with fcntl(2) by QEMU itself."""
        return self.path / "qemu.pid"

    @property
    def qemu_log(self) -> Path:
        return self.path / "qemu.log"

    @property
    def console_log(self) -> Path:
        return self.path / "console.log"

    @property
    def variables(self) -> Path:
        """The UEFI firmware's variables."""
        return self.path / "efivars.fd"

    @property
    def screen(self) -> Path:
        """The unix socket for VNC, which QEMU makes itself, in a folder of its own."""
        return self.path / "screen" / "vnc"

    def socket(self, name: str) -> Path:
        """The unix socket that QEMU listens on for `name`."""
        return self.path / name

    @contextlib.contextmanager
    def address(self, name: str) -> Iterator[str]:
        """An address of a socket that fits into the 108 bytes of unix(7), however deep the house lies."""
        descriptor = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}/{name}"
        finally:
            os.close(descriptor)

    def listen(self, name: str) -> Socket:
        """Bind a socket, for the daemon's user alone, in place of one left behind; it listens at once."""
        self.socket(name).unlink(missing_ok=True)
        listener = Socket(AF_UNIX, SOCK_STREAM)
        # Linux takes the mode of the new name from the unbound socket: it is never open to others.
        os.fchmod(listener.fileno(), 0o600)
        with self.address(name) as address:
            listener.bind(address)
        listener.listen(_BACKLOG)
        return listener

    def connect(self, name: str) -> Socket:
        """A connection to a socket; raises `OSError` when nobody listens."""
        connection = Socket(AF_UNIX, SOCK_STREAM)
        # Does not wait: connecting to a listening unix socket is done at once or, with its queue full, refused.
        connection.setblocking(False)
        try:
            with self.address(name) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def read_record(self) -> Record | None:
        """The record of the last start, None before the first; raises `Failed` when it cannot be read."""
        try:
            written = self.record.read_bytes()
        except FileNotFoundError:
            return None
        if not written.strip(b"\0"):
            # A power cut took it, and the process that it speaks of.
            return None
        try:
            return msgspec.json.decode(written, type=Record)
        except msgspec.DecodeError as error:
            raise Failed(
                f"{self.record} cannot be read: {error}",
                subject=f"machine {self.machine}",
                hint="it was written by another version of guesthouse; run that one",
            ) from error

    def remember_restored(self, epoch: int) -> None:
        """Write down that a start has gone on from what this restore epoch went back to."""
        write_whole(self.restored, str(epoch).encode())

    def has_restored(self, epoch: int) -> bool:
        """Whether that was written down."""
        return self.restored.exists() and self.restored.read_bytes() == str(epoch).encode()

    def write_record(self, record: Record) -> None:
        """Replace the record. It outlives the daemon, not a power cut: that ends QEMU too."""
        write_whole(self.record, msgspec.json.encode(record), lasting=False)
