"""Whether a machine's description makes sense by itself, before anything is looked up or changed.

Rules
-----
1. Every check names the field, the value and the fix.
2. Limits are those of QEMU's q35 machine (255 vCPUs without an IOMMU, six IDE ports) and of its formats.
3. User-data is passed on as given; but if it says that it is cloud-config, packed or not, it must be YAML with a
   mapping on top, because cloud-init would only warn in a log that nobody reads. What a seed disk has is for cloud-init
   alone and must be something that it knows; what the metadata service tells may be anything, for any program.
4. Who asks the metadata service does so through the first NIC: cloud-init looks for it before there are others.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Mapping

import yaml

from guesthouse.decide.types import check_type
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import Bus, Datasource, DiskSpec, Forward, MachineSpec, NicSpec
from guesthouse.model.metadata import Dialect
from guesthouse.model.names import check_name

MAX_VCPUS = 255
MIN_MEMORY_MIB = 64
MAX_MEMORY_MIB = 4 * 1024 * 1024
MAX_DISK_MIB = 64 * 1024 * 1024
MAX_DISKS = 24
MAX_IDE_DISKS = 5
MAX_NICS = 8
MAX_USER_DATA_BYTES = 512 * 1024
MAX_UNPACKED_BYTES = 1024 * 1024
MAX_HOP_LIMIT = 64

_MAC = re.compile(r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")
# Clouds call them tags, and take nearly all letters there are.
_LABEL_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
MAX_LABEL_TEXT = 256
_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def check_spec(spec: MachineSpec) -> None:
    """Raise `Invalid` for the first thing in `spec` that cannot be."""
    check_name(spec.name, "machine")
    check_range("vcpus", spec.vcpus, 1, MAX_VCPUS)
    check_range("memory_mib", spec.memory_mib, MIN_MEMORY_MIB, MAX_MEMORY_MIB)
    check_type(spec)
    _check_disks(spec.disks)
    _check_nics(spec.nics)
    check_user_data(_user_data(spec), for_all=spec.datasource is Datasource.METADATA)
    _check_metadata(spec)
    for key in spec.ssh_keys:
        check_public_key(key, "ssh_keys")
    check_labels(spec.labels)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise `Invalid` for the first label that cannot be one."""
    for name, text in labels.items():
        if not _LABEL_KEY.fullmatch(name) or len(text) > MAX_LABEL_TEXT:
            raise Invalid(
                f"label {name!r} is not a label",
                field="labels",
                value=f"{name}={text}",
                hint=f"a name of 1 to 128 characters and a text of {MAX_LABEL_TEXT} at most",
            )


def check_range(field: str, value: int, least: int, most: int) -> int:
    """Return `value` if it is within bounds; raises `Invalid` naming field, value and bounds."""
    if not least <= value <= most:
        raise Invalid(f"{field} is {value}", field=field, value=value, hint=f"from {least} to {most}")
    return value


def check_disk_size(size_mib: int) -> int:
    """Return a disk's size if it may be one."""
    return check_range("size_mib", size_mib, 1, MAX_DISK_MIB)


def _check_disks(disks: tuple[DiskSpec, ...]) -> None:
    if len(disks) > MAX_DISKS:
        raise Invalid(f"{len(disks)} disks", field="disks", value=len(disks), hint=f"{MAX_DISKS} at most")
    if sum(disk.bus is Bus.IDE for disk in disks) > MAX_IDE_DISKS:
        raise Invalid("too many IDE disks", field="disks", hint=f"{MAX_IDE_DISKS} at most; virtio takes more")
    _refuse_twice("disks", (disk.name for disk in disks))
    _refuse_twice("disks", (disk.disk for disk in disks if disk.disk))
    for disk in disks:
        check_name(disk.name, "disk")
        if disk.size_mib or not (disk.disk or disk.image or disk.name == "root"):
            check_disk_size(disk.size_mib)


def _check_nics(nics: tuple[NicSpec, ...]) -> None:
    if len(nics) > MAX_NICS:
        raise Invalid(f"{len(nics)} NICs", field="nics", value=len(nics), hint=f"{MAX_NICS} at most")
    _refuse_twice("nics", (nic.mac for nic in nics if nic.mac))
    for nic in nics:
        if nic.mac and not _MAC.match(nic.mac):
            raise Invalid(
                f"{nic.mac!r} is not a MAC address of a NIC",
                field="mac",
                value=nic.mac,
                hint="six lower-case pairs like 52:54:00:12:34:56, the first one even",
            )
        for forward in nic.forwards:
            check_forward(forward)
        _refuse_twice("forwards", (f"{f.protocol} {f.guest_port}" for f in nic.forwards))
    _refuse_twice("forwards", (f"{f.protocol} {f.host_port}" for n in nics for f in n.forwards if f.host_port))


def check_forward(forward: Forward) -> None:
    """Raise `Invalid` when a port forward names no port or another protocol."""
    check_range("guest_port", forward.guest_port, 1, 65535)
    check_range("host_port", forward.host_port, 0, 65535)
    if forward.protocol not in ("tcp", "udp"):
        raise Invalid(
            f"protocol {forward.protocol!r} cannot be forwarded", field="protocol", value=forward.protocol,
            hint="tcp or udp",
        )  # fmt: skip


def _refuse_twice(field: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Invalid(f"{field} has {value!r} twice", field=field, value=value, hint="name each once")
        seen.add(value)


def check_told(spec: MachineSpec) -> None:
    """Raise `Invalid` where a new machine is to ask the metadata service, and its options have that not answer."""
    if spec.datasource is not Datasource.METADATA:
        return
    if not spec.metadata.enabled or Dialect.EC2 not in spec.metadata.dialects:
        raise Invalid(
            "the machine is to be configured by the metadata service, which would refuse it",
            field="metadata",
            hint="leave enabled and the dialect ec2 in; both can be taken away when it is configured",
        )


def _check_metadata(spec: MachineSpec) -> None:
    check_range("hop_limit", spec.metadata.hop_limit, 1, MAX_HOP_LIMIT)
    _refuse_twice("dialects", spec.metadata.dialects)
    if spec.datasource is Datasource.METADATA and not (spec.nics and spec.nics[0].network):
        raise Invalid(
            "the machine is to be configured by the metadata service, and its first NIC is on no network",
            field="datasource",
            value=spec.datasource.value,
            hint="put its first NIC on a network, or leave the datasource out: it then has a seed disk",
        )


def _user_data(spec: MachineSpec) -> bytes:
    try:
        return spec.user_data_bytes
    except ValueError as error:
        raise Invalid(
            f"user-data is no {spec.user_data_encoding.value}: {error}",
            field="user_data",
            value=spec.user_data[:40],
            hint="set user_data_encoding to how it is written",
        ) from error


def check_user_data(given: bytes, *, for_all: bool = False) -> None:
    """Raise `Invalid` with line and column when user-data says it is cloud-config and is no YAML mapping.

    With `for_all` it may be something that cloud-init does not know.
    """
    size = len(given)
    if size > MAX_USER_DATA_BYTES:
        raise Invalid(
            f"user-data has {size} bytes", field="user_data", value=size, hint=f"{MAX_USER_DATA_BYTES} at most"
        )
    if for_all and not given.startswith(_CONFIG):
        return
    plain = _unpacked(given) if given.startswith(_GZIP) else given
    text = plain.decode(errors="replace")
    if not text:
        return
    first = text.lstrip("\ufeff").splitlines()[0].strip() if text.strip() else ""
    if first == "#cloud-config":
        _check_cloud_config(text)
    elif not first.lower().startswith(_OTHER_USER_DATA):
        raise Invalid(
            f"user-data begins with {first[:40]!r}",
            field="user_data",
            value=first[:40],
            hint="begin it with '#cloud-config', '#!', or a header that cloud-init knows",
        )


def _unpacked(packed: bytes) -> bytes:
    """What gzip has packed (RFC 1952); never more than `MAX_UNPACKED_BYTES`."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise Invalid(
            f"user-data is damaged: gzip says {error}", field="user_data", hint="pack it again, or leave it unpacked"
        ) from error
    if not unpacker.eof:
        raise Invalid(
            "user-data is cut off, or too large unpacked",
            field="user_data",
            hint=f"{MAX_UNPACKED_BYTES} bytes at most",
        )
    return plain


def _check_cloud_config(text: str) -> None:
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - both loaders are the safe ones
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise Invalid(
            f"user-data is not YAML: {where}{problem}",
            field="user_data",
            value=f"line {mark.line + 1}" if mark else None,
            hint="mend that line; `cloud-init schema -c FILE` checks the rest",
        ) from error
    if document is not None and not isinstance(document, dict):
        raise Invalid(
            f"user-data is a {type(document).__name__}, not a mapping",
            field="user_data",
            hint="cloud-config is `key: value` lines",
        )


_GZIP = b"\x1f\x8b"
_CONFIG = b"#cloud-config"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OTHER_USER_DATA = (
    "#!",
    "#include",
    "#cloud-boothook",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "#part-handler",
    "## template: jinja",
    "content-type: multipart/",
    "mime-version:",
    "from ",
)


def check_public_key(line: str, field: str) -> str:
    """Return an SSH public key line without spaces around; raises `Invalid` when it is none (RFC 4253, 6.6)."""
    parts = line.split()
    hint = "paste the one line of the .pub file"
    if "PRIVATE KEY" in line:
        raise Invalid(f"{field} holds a private key", field=field, hint=hint)
    if len(parts) < 2 or parts[0] not in _KEY_TYPES:
        raise Invalid(f"{field} is not an SSH public key", field=field, value=line[:40], hint=hint)
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{field} is damaged", field=field, value=line[:40], hint=hint) from error
    kind = parts[0].encode()
    if blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind:
        raise Invalid(f"{field} is damaged: its type and body differ", field=field, value=line[:40], hint=hint)
    return " ".join(parts)
