"""Disks as files: making, growing, converting, merging and removing them.

Rules
-----
1. A disk is made under a name that nobody knows (``.partial``), made durable, and then gets its own: it is there
   whole or not at all.
2. A thin qcow2 disk on an image is an overlay. A raw or a thick disk is a copy: it needs no image any more.
3. A disk lies in layers (`decide.layers`). The first is ``ID.qcow2`` or ``ID.raw``, every other ``ID.LAYER.qcow2``, an
   overlay on the one that its header names. A header may name a layer of the same disk and nothing else; a layer of
   which several disks have the file (hard links) names it as the disk did that it was first.
4. qemu-img, like QEMU, is told every layer of a disk by name and format; it never follows a name in a header.
5. A full file system is `NoCapacity`, and what was begun is gone.
"""

from __future__ import annotations

from guesthouse.host.disks.files import DiskFiles
from guesthouse.host.disks.local import LocalDisks
from guesthouse.host.disks.making import is_overlay, make_overlay

__all__ = ["DiskFiles", "LocalDisks", "is_overlay", "make_overlay"]
