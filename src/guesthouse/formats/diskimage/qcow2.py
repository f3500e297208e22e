"""qcow2, versions 2 and 3, by QEMU's docs/interop/qcow2.txt and the limits in its block/qcow2.h.

Rules
-----
1. Refused: a backing file, an external data file (feature bit or name), encryption, the corrupt bit, an
   incompatible feature that is not in `_INCOMPATIBLE`.
2. The L1 table covers the whole disk; it, the refcount table and the snapshot table lie within the file and
   within QEMU's own limits.
3. Internal snapshots are counted; importing keeps the current state only.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from guesthouse.formats.diskimage.source import Facts, Source, shown

_MAGIC = b"QFI\xfb"
_V2_HEADER_BYTES = 72
_V3_HEADER_BYTES = 104
_MAX_L1_BYTES = 32 << 20
_MAX_REFCOUNT_TABLE_BYTES = 8 << 20
_MAX_REFCOUNT_ORDER = 6
_MAX_EXTENSIONS = 64
_MAX_SNAPSHOTS = 1024
_MAX_SNAPSHOT_EXTRA_BYTES = 1024

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION_TYPE, _EXTENDED_L2 = (1 << bit for bit in range(5))
_INCOMPATIBLE = _DIRTY | _COMPRESSION_TYPE | _EXTENDED_L2

_EXTENSION_END = 0x00000000
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION = struct.Struct(">II")
_SNAPSHOT = struct.Struct(">QIHHIIQII")


class _V2(NamedTuple):
    """The header that both versions have; big-endian."""

    magic: bytes
    version: int
    backing_offset: int
    backing_length: int
    cluster_bits: int
    virtual_bytes: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int


class _V3(NamedTuple):
    """What version 3 adds; these are its values in version 2."""

    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    header_bytes: int = _V2_HEADER_BYTES


_V2_LAYOUT = struct.Struct(">4sIQIIQIIQQIIQ")
_V3_LAYOUT = struct.Struct(">QQQII")


class Qcow2:
    """QEMU's own format."""

    name = "qcow2"
    driver = "qcow2"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """Magic and version; version 1 is another format."""
        return head[:4] == _MAGIC and head[4:8] != b"\x00\x00\x00\x01"

    def read(self, source: Source) -> Facts:
        """The facts of a harmless qcow2 image."""
        base = _V2._make(_V2_LAYOUT.unpack(source.read(0, _V2_HEADER_BYTES, "header")))
        if base.version not in (2, 3):
            raise source.refuse(f"is qcow2 of version {base.version}", field="version", value=base.version)
        more = _V3()
        if base.version == 3:
            rest = source.read(_V2_HEADER_BYTES, _V3_LAYOUT.size, "header")
            more = _V3._make(_V3_LAYOUT.unpack(rest))
        _check_numbers(source, base, more)
        _check_features(source, base, more)
        _check_extensions(source, base, more)
        _check_backing(source, base)
        _check_tables(source, base, more)
        return Facts(
            self.name,
            source.virtual_size(base.virtual_bytes),
            version=base.version,
            snapshots=_check_snapshots(source, base),
        )


def _check_numbers(source: Source, base: _V2, more: _V3) -> None:
    if not 9 <= base.cluster_bits <= 21:
        raise source.refuse(
            f"has clusters of 2^{base.cluster_bits} bytes; 2^9 to 2^21 are possible",
            field="cluster_bits",
            value=base.cluster_bits,
        )
    cluster_bytes = 1 << base.cluster_bits
    least = _V2_HEADER_BYTES if base.version == 2 else _V3_HEADER_BYTES
    if not least <= more.header_bytes <= cluster_bytes:
        raise source.refuse(
            f"has a header of {more.header_bytes} bytes", field="header_length", value=more.header_bytes
        )
    if more.refcount_order > _MAX_REFCOUNT_ORDER:
        raise source.refuse(
            f"has reference counts of 2^{more.refcount_order} bits",
            field="refcount_order",
            value=more.refcount_order,
        )


def _check_features(source: Source, base: _V2, more: _V3) -> None:
    if base.encryption:
        raise source.refuse("is encrypted", field="crypt_method", value=base.encryption, hint="import it decrypted")
    if more.incompatible & _CORRUPT:
        raise source.refuse(
            "is marked as corrupt",
            field="incompatible_features",
            value=more.incompatible,
            hint="repair it with `qemu-img check -r all`",
        )
    unknown = more.incompatible & ~_INCOMPATIBLE & ~_DATA_FILE
    if unknown:
        raise source.refuse(
            f"needs features that are not known here (bits {unknown:#x})",
            field="incompatible_features",
            value=more.incompatible,
        )


def _check_extensions(source: Source, base: _V2, more: _V3) -> None:
    """Walk the header extensions, which end where the backing file's name or the first cluster ends."""
    end = min(1 << base.cluster_bits, base.backing_offset or source.size, source.size)
    position = more.header_bytes
    for _ in range(_MAX_EXTENSIONS):
        if position + _EXTENSION.size > end:
            break
        kind, length = _EXTENSION.unpack(source.read(position, _EXTENSION.size, "header extension"))
        if kind == _EXTENSION_END:
            break
        position += _EXTENSION.size
        if position + length > end:
            raise source.refuse(
                f"has a header extension {kind:#010x} of {length} bytes, which leaves the header",
                field="header extension",
                value=kind,
            )
        if kind == _EXTENSION_DATA_FILE:
            raise _external_data(source, shown(source.read(position, length, "header extension")))
        position += -(-length // 8) * 8
    else:
        raise source.refuse("has too many header extensions", field="header extension", value=_MAX_EXTENSIONS)
    if more.incompatible & _DATA_FILE:
        raise _external_data(source, "that it does not name")


def _external_data(source: Source, name: str) -> Exception:
    return source.refuse(
        f"keeps its data in another file {name}",
        field="external data file",
        value=name,
        hint="import one whole file: `qemu-img convert -O qcow2` makes one",
    )


def _check_backing(source: Source, base: _V2) -> None:
    if not base.backing_offset and not base.backing_length:
        return
    name = source.read(base.backing_offset, min(base.backing_length, 1023), "backing file name")
    raise source.refuse(
        f"names a backing file {shown(name)}",
        field="backing file",
        value=shown(name),
        hint="import one whole file: `qemu-img convert -O qcow2` makes one",
    )


def _check_tables(source: Source, base: _V2, more: _V3) -> None:
    cluster_bytes = 1 << base.cluster_bits
    refcount_bytes = base.refcount_clusters * cluster_bytes
    for what, offset, length, most in (
        ("L1 table", base.l1_offset, base.l1_entries * 8, _MAX_L1_BYTES),
        ("refcount table", base.refcount_offset, refcount_bytes, _MAX_REFCOUNT_TABLE_BYTES),
    ):
        if length > most or offset % cluster_bytes:
            raise source.refuse(f"has an absurd {what}: {length} bytes at {offset}", field=what, value=length)
        source.span(offset, length, what)
    l2_entry_bytes = 16 if more.incompatible & _EXTENDED_L2 else 8
    covered = base.l1_entries * cluster_bytes * (cluster_bytes // l2_entry_bytes)
    if covered < base.virtual_bytes:
        raise source.refuse(
            f"claims a disk of {base.virtual_bytes} bytes, but its L1 table covers {covered}",
            field="L1 table",
            value=base.l1_entries,
        )


def _check_snapshots(source: Source, base: _V2) -> int:
    """Walk the snapshot table; the number of snapshots."""
    if base.snapshots > _MAX_SNAPSHOTS:
        raise source.refuse(
            f"claims {base.snapshots} snapshots; the limit is {_MAX_SNAPSHOTS}",
            field="nb_snapshots",
            value=base.snapshots,
        )
    position = base.snapshots_offset
    for _ in range(base.snapshots):
        fixed = source.read(position, _SNAPSHOT.size, "snapshot table")
        l1_offset, l1_entries, id_bytes, name_bytes, *_rest, extra_bytes = _SNAPSHOT.unpack(fixed)
        if l1_entries * 8 > _MAX_L1_BYTES or extra_bytes > _MAX_SNAPSHOT_EXTRA_BYTES:
            raise source.refuse("has an absurd snapshot", field="snapshot table", value=l1_entries)
        source.span(l1_offset, l1_entries * 8, "L1 table of a snapshot")
        position += -(-(_SNAPSHOT.size + extra_bytes + id_bytes + name_bytes) // 8) * 8
    return base.snapshots
