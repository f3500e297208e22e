"""Randomness from the host first of all: a machine forked or resumed from another must not share its numbers.

Debian 12's cloud kernel has no driver for the VM generation id, so user space does it.
Source: random(4).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_HARDWARE = "/dev/hwrng"
_BYTES = 64
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207


def reseed() -> None:
    """Mix 64 bytes of the host's into the kernel's pool, count them, and make new keys from it."""
    try:
        source = os.open(_HARDWARE, os.O_RDONLY)
        seed = os.read(source, _BYTES)
        os.close(source)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return  # a machine without a virtio-rng device
        raise
    pool = os.open("/dev/urandom", os.O_WRONLY)
    fcntl.ioctl(pool, _RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(pool, _RNDRESEEDCRNG)
    os.close(pool)
