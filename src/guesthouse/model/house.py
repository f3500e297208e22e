"""Where a house keeps its things: one value holding all paths, made once from the environment.

Rules
-----
1. ``GUESTHOUSE_HOME`` names a folder that holds everything; houses in different folders know nothing of each other.
2. Without it: root has ``/var/lib/guesthouse`` and ``/run/guesthouse`` (FHS 3.0); anyone else has
   ``$XDG_DATA_HOME/guesthouse`` and ``$XDG_RUNTIME_DIR/guesthouse`` with the defaults of the XDG specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class House:
    """The paths of a house: `home` holds what must last, `runtime` the socket, and what goes when the host ends."""

    home: Path
    runtime: Path

    @property
    def socket(self) -> Path:
        """The native door's unix socket, mode 0600."""
        return self.runtime / "guesthouse.sock"

    @property
    def lock(self) -> Path:
        """Held by the daemon as long as it lives: two daemons on one house are refused."""
        return self.home / "daemon.lock"

    @property
    def daemon_log(self) -> Path:
        """What a daemon in the background says, with tracebacks and the words of its children."""
        return self.home / "daemon.log"

    @property
    def database(self) -> Path:
        return self.home / "guesthouse.db"

    @property
    def settings(self) -> Path:
        """What its daemon is told at every start; there is none in a house that is as it was made."""
        return self.home / "house.json"

    @property
    def images(self) -> Path:
        """One folder an image, named by its id."""
        return self.home / "images"

    @property
    def disks(self) -> Path:
        """One file a layer of a disk: ``ID.qcow2`` or ``ID.raw``, and ``ID.LAYER.qcow2``."""
        return self.home / "disks"

    @property
    def machines(self) -> Path:
        """One folder a machine, named by its id: seed, sockets, logs, firmware variables."""
        return self.home / "machines"

    @property
    def templates(self) -> Path:
        """One folder a template, named by its id: memory, state and disk of a frozen machine."""
        return self.home / "templates"

    @property
    def snapshots(self) -> Path:
        """One folder a snapshot, named by its id: memory and state of a machine as it was."""
        return self.home / "snapshots"

    @property
    def networks(self) -> Path:
        """One folder a network, named by its id: what is known of it, and its name server's files."""
        return self.runtime / "networks"

    @property
    def cache(self) -> Path:
        """What can be made or fetched again."""
        return self.home / "cache"

    @property
    def metadata(self) -> Path:
        """What the metadata service keeps secret."""
        return self.home / "metadata"

    @property
    def doors(self) -> Path:
        """Which doors of clouds are open, and where."""
        return self.home / "doors.json"

    @property
    def keys(self) -> Path:
        """One SSH key pair a project, named by the project's id: how `guest shell` enters."""
        return self.home / "keys"


def locate(environment: Mapping[str, str], uid: int) -> House:
    """The house that this environment and user mean."""
    if home := environment.get("GUESTHOUSE_HOME"):
        return House(Path(home).absolute(), Path(home).absolute())
    if uid == 0:
        return House(Path("/var/lib/guesthouse"), Path("/run/guesthouse"))
    user = Path(environment.get("HOME", "/"))
    data = Path(environment.get("XDG_DATA_HOME") or user / ".local/share") / "guesthouse"
    runtime = environment.get("XDG_RUNTIME_DIR")
    return House(data, Path(runtime) / "guesthouse" if runtime else data)
