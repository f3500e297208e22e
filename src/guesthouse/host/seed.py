"""A machine's seed: the CD-ROM image from which cloud-init configures it, and the secrets in it.

A machine that asks the metadata service has none: its guest makes its host key, and tells the public half of it.

Rules
-----
1. The SSH host key and the random bytes are made once in a machine's life and outlive every rewriting of the seed.
2. They are in their place before a seed that has them is.
"""

from __future__ import annotations

import os
from pathlib import Path

from guesthouse.decide.observed import Desired
from guesthouse.formats import iso9660
from guesthouse.formats.cloudinit import LABEL, HostKey, seed_files
from guesthouse.host.durable import write_whole
from guesthouse.host.sshkeys import make_pair

_RANDOM_BYTES = 64


def make_host_key() -> HostKey:
    """A new ed25519 key pair."""
    return HostKey(*make_pair())


def public_of(path: Path) -> Path:
    """Where the public half of the key at `path` is kept."""
    return path.with_name(path.name + ".pub")


def keep_host_key(path: Path) -> HostKey:
    """The key kept at `path`, made where there is none."""
    public = public_of(path)
    if not (path.exists() and public.exists()):
        public.unlink(missing_ok=True)  # it may be half of another pair
        key = make_host_key()
        write_whole(path, key.private.encode())
        write_whole(public, key.public.encode() + b"\n")
    return HostKey(path.read_text(), public.read_text().strip())


def keep_told_host_key(path: Path, public: str) -> None:
    """Keep the public half of a key that the guest has made for itself, unless the house gave it one."""
    kept = public_of(path)
    if not path.exists() and not (kept.exists() and kept.read_text().strip() == public):
        write_whole(kept, public.encode() + b"\n")


def keep_random_seed(path: Path) -> bytes:
    """The random bytes kept at `path`, made where there are none."""
    if not path.exists():
        write_whole(path, os.urandom(_RANDOM_BYTES))
    return path.read_bytes()


def render_seed(desired: Desired, host_key: HostKey, random_seed: bytes) -> bytes:
    """The image of a machine's seed; the same bytes for the same machine."""
    machine = desired.machine
    files = seed_files(
        machine_id=machine.configured_as or machine.id,
        hostname=machine.spec.name,
        user_data=machine.spec.user_data_bytes,
        authorized_keys=(*machine.spec.ssh_keys, *desired.authorized_keys),
        host_key=host_key,
        macs=[nic.mac for nic in machine.spec.nics],
        random_seed=random_seed,
    )
    return iso9660.build(LABEL, files)
