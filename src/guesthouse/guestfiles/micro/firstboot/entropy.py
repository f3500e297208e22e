"""Randomness from the host first of all: a machine forked or resumed from another must not share its numbers.

Debian 12's cloud kernel has no driver for the VM generation id, so user space does it.
Source: random(4); drivers/char/hw_random/core.c and virtio-rng.c of Linux 6.1.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .guest import Guest

_HARDWARE = "/dev/hwrng"
_BYTES = 64
# What the kernel fetched before it was asked: 64 bytes in the driver, 64 in the layer above. In a fork those are
# the template's, and every sibling's.
FETCHED_BEFORE_BYTES = 128


def reseed(guest: Guest, stale_bytes: int = 0) -> None:
    """Mix 64 bytes of the host's into the kernel's pool, and before them as many as may be no news."""
    try:
        seed = _read(guest.path(_HARDWARE), stale_bytes + _BYTES)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return  # a machine without a virtio-rng device
        raise
    # The old ones are mixed in too, which does no harm, and counted as nothing.
    guest.add_entropy(seed, max(0, len(seed) - stale_bytes))


def _read(path: str, count: int) -> bytes:
    """So many bytes, in as many pieces as it takes: the first may be all old ones."""
    data = b""
    source = os.open(path, os.O_RDONLY)
    try:
        while len(data) < count and (part := os.read(source, count - len(data))):
            data += part
    finally:
        os.close(source)
    return data
