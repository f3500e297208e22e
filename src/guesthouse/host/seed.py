"""A machine's seed: the CD-ROM image from which cloud-init configures it, and the SSH host key in it.

Rules
-----
1. The host key is made once in a machine's life and outlives every rewriting of the seed.
2. The key is in its place before a seed that names it is.
"""

from __future__ import annotations

from pathlib import Path

from guesthouse.decide.plan import Desired
from guesthouse.formats import iso9660
from guesthouse.formats.cloudinit import LABEL, HostKey, seed_files
from guesthouse.host.durable import write_whole
from guesthouse.host.sshkeys import make_pair


def make_host_key() -> HostKey:
    """A new ed25519 key pair."""
    return HostKey(*make_pair())


def public_of(path: Path) -> Path:
    """Where the public half of the key at `path` is kept."""
    return path.with_name(path.name + ".pub")


def keep_host_key(path: Path) -> HostKey:
    """The key kept at `path`, made where there is none."""
    public = public_of(path)
    if not public.exists():
        key = make_host_key()
        write_whole(path, key.private.encode())
        write_whole(public, key.public.encode() + b"\n")
    return HostKey(path.read_text(), public.read_text().strip())


def render_seed(desired: Desired, host_key: HostKey) -> bytes:
    """The image of a machine's seed; the same bytes for the same machine."""
    machine = desired.machine
    files = seed_files(
        machine_id=machine.id,
        hostname=machine.spec.name,
        user_data=machine.spec.user_data,
        authorized_keys=(*machine.spec.ssh_keys, *desired.authorized_keys),
        host_key=host_key,
    )
    return iso9660.build(LABEL, files)
