"""The gate: where a machine is frozen as a template, and where each of its forks goes on.

Rules
-----
1. Before the gate nothing is made that a machine has for itself: units that would are held until behind it, and nobody
   opens a connection, at whose first the kernel draws the secrets of its TCP. What the boot itself made (a machine-id,
   a random seed) is taken back from the disk: a fork that ends early boots as new.
2. What is in the frozen memory is the same in every fork. Randomness is therefore the first thing behind the gate,
   before any program is started; then the clock, which stood still; then the machine-id, which PID 1 reads when it is
   asked for it, and the journal when it starts again (`guesthouse-renamed.service`).
3. A fork that cannot be made somebody goes no further as its template: it boots.
4. A fork's time counts and a template's does not: what can be read and imported before the gate is.
5. Waiting costs nothing: the kernel wakes us.
6. All forks of a template share what no program can change: boot_id, the uuid in the tables of the firmware, where the
   kernel and the processes that waited with us lie in memory, and what those call themselves to their own (the id of
   the system bus, the invocation ids of their units).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import random
import subprocess
import traceback
import uuid

from firstboot import entropy, plugged, uevents  # type: ignore[import-not-found]  # they lie beside us in the guest
from firstboot.guest import Guest  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PORT = "/dev/virtio-ports/org.guesthouse.report.0"
RELEASED = "/run/guesthouse/released"
SEED = "/run/guesthouse/seed"
UUID = "/sys/class/dmi/id/product_uuid"
MACHINE_ID = "/etc/machine-id"
RANDOM_SEED = "/var/lib/systemd/random-seed"
# Only a NIC that no driver is there for is waited for so long; in a crowd of forks the others take their time.
NIC_TIMEOUT_S = 60.0
MOUNT_READ_ONLY = 1
UNMOUNT_DETACH = 2
REBOOT_NOW = 0x01234567

# Drivers of what may be plugged into a fork, and what they ask for when it is.
DRIVERS = ("virtio_net", "virtio_blk", "virtio_scsi", "sd_mod", "isofs", "nls_utf8", "nls_iso8859_1", "af_packet")

# Modules of cloud-init that its stages import where they need them, beside those of the configuration's own lists.
MODULES = (
    "cloudinit.config.schema",
    "cloudinit.handlers.boot_hook",
    "cloudinit.handlers.cloud_config",
    "cloudinit.handlers.jinja_template",
    "cloudinit.handlers.shell_script",
    "cloudinit.handlers.shell_script_by_frequency",
    "cloudinit.net.activators",
    "cloudinit.net.network_state",
    "cloudinit.net.networkd",
    "cloudinit.net.renderers",
    "cloudinit.sources.DataSourceEc2",
    "cloudinit.sources.DataSourceNone",
    "email.generator",
    "email.mime.base",
    "email.mime.multipart",
    "email.mime.nonmultipart",
    "email.mime.text",
    "encodings.idna",
    "jinja2.ext",
    "json.decoder",
    "jsonschema",
    "queue",
    "tempfile",
)
SECTIONS = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")

# Programs that a first boot runs behind the gate: read now, with their libraries.
PROGRAMS = (
    "/lib/systemd/systemd-networkd",
    "/lib/systemd/systemd-networkd-wait-online",
    "/lib/systemd/systemd-random-seed",
    "/sbin/agetty",
    "/usr/bin/bash",
    "/usr/bin/growpart",
    "/usr/bin/hostname",
    "/usr/bin/hostnamectl",
    "/usr/bin/journalctl",
    "/usr/bin/lsblk",
    "/usr/bin/mount",
    "/usr/bin/passwd",
    "/usr/bin/perl",
    "/usr/bin/sh",
    "/usr/bin/sudo",
    "/usr/bin/systemctl",
    "/usr/bin/udevadm",
    "/usr/sbin/dhclient",
    "/usr/bin/umount",
    "/usr/sbin/blkid",
    "/usr/sbin/ip",
    "/usr/sbin/resize2fs",
    "/usr/sbin/sfdisk",
    "/usr/sbin/sshd",
    "/usr/sbin/useradd",
    "/usr/sbin/usermod",
)
LIBRARIES = ("/usr/lib/x86_64-linux-gnu/security", "/etc/pam.d", "/etc/ssh")
REHEARSED = (
    "ssh-keygen -q -t ed25519 -N '' -f {0}/key",
    "/usr/sbin/sshd -t -h {0}/key",
    "/lib/systemd/systemd-networkd --version",
    "/lib/systemd/systemd-networkd-wait-online --version",
    "useradd --help",
    "passwd --status root",
    "blkid -o full",
    "growpart --dry-run /dev/vda 1",
    "networkctl list",
    "systemctl is-system-running",
)


class Gate:
    """The gate of a template's boot."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.kernel = ctypes.CDLL(None)
        self.uevents = uevents.listen()

    def pass_through(self) -> None:
        """Get ready, tell the host, be frozen, and go on in a fork that is like no other."""
        warm_up()
        self.forget()
        devices = plugged.Plugged(self.guest) if self.asks() else None
        tell({"stage": "gate"})
        # In a fork all that it has beyond its template is there by now: who looks at what there was looks before.
        disk = self.wait_for_seed() if devices is None else None
        if devices is not None:
            self.let_in(devices)
        try:
            self.become_somebody(disk)
        except BaseException:
            traceback.print_exc()
            os.sync()
            self.kernel.reboot(REBOOT_NOW)
            raise

    def asks(self) -> bool:
        """Whether this machine is to ask the metadata service, as its firmware tells; then it has no seed."""
        return bool(self.guest.read(UUID).strip().lower().startswith("ec2"))

    def wait_for_seed(self) -> str:
        while not (disk := self.seed_disk()):
            self.uevents.wait("block")
        return disk

    def let_in(self, devices: plugged.Plugged) -> None:
        """Wait until all that a fork has beyond its template has its driver: its NICs are what it goes on with."""
        while not devices.whole:
            self.uevents.wait(*plugged.SUBSYSTEMS)
            devices.let_in()
        devices.let_go()

    def become_somebody(self, disk: str | None) -> None:
        """Replace all that this fork shares with others, and let go what waits for that."""
        entropy.reseed(self.guest, entropy.FETCHED_BEFORE_BYTES)
        meta = self.read_seed(disk) if disk else {}
        random.seed()
        self.guest.catch_up()
        self.guest.write(MACHINE_ID, machine_id(meta.get("instance-id")).encode() + b"\n", 0o444)
        self.wait_for_nics({mac.lower() for mac in meta.get("nics") or ()})
        self.guest.write(RELEASED, b"")

    def forget(self) -> None:
        """Take back from the disk what this boot made for itself, and pass over the events of our own drivers."""
        self.guest.write(MACHINE_ID, b"", 0o444)
        if os.path.exists(RANDOM_SEED):
            os.unlink(RANDOM_SEED)
        os.sync()
        gc.collect()
        gc.freeze()
        self.uevents.forget()

    def seed_disk(self) -> str | None:
        """The device of the disk whose serial number is `seed`."""
        for name in os.listdir("/sys/class/block"):
            if self.guest.read(f"/sys/class/block/{name}/serial").strip() == "seed":
                return f"/dev/{name}"
        return None

    def read_seed(self, disk: str) -> dict[str, Any]:
        """Mix in the seed's own randomness; its meta-data, as the host wrote it.

        Of a seed that cannot be read cloud-init will tell: what waits here has to go on.
        """
        self.guest.folder(SEED, 0o700)
        if self.kernel.mount(disk.encode(), SEED.encode(), b"iso9660", MOUNT_READ_ONLY, None):
            return {}
        try:
            if os.path.exists(f"{SEED}/random-seed"):
                with open(f"{SEED}/random-seed", "rb") as file:
                    data = file.read()
                self.guest.add_entropy(data, len(data))
            return meta_data(self.guest.read(f"{SEED}/meta-data"))
        finally:
            self.kernel.umount2(SEED.encode(), UNMOUNT_DETACH)

    def wait_for_nics(self, wanted: set[str]) -> None:
        """Wait until the NICs that the seed names are there."""
        while not wanted <= {self.guest.read(f"/sys/class/net/{nic}/address").strip() for nic in nics()}:
            if not self.uevents.wait("net", NIC_TIMEOUT_S):
                return  # what is missing then is said where it is used


def nics() -> list[str]:
    return os.listdir("/sys/class/net")


def meta_data(text: str) -> dict[str, Any]:
    """The host writes JSON; whatever else it is, cloud-init will read it, and only its instance-id is missed here."""
    try:
        meta = json.loads(text)
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}


def machine_id(instance_id: Any) -> str:
    """What systemd makes of the UUID of the machine, which a seed's instance-id is; else a new one."""
    try:
        return uuid.UUID(instance_id).hex
    except (AttributeError, TypeError, ValueError):
        return uuid.uuid4().hex


def tell(report: dict[str, str]) -> None:
    with open(PORT, "w", encoding="utf-8") as port:
        port.write(json.dumps(report) + "\n")


def warm_up() -> None:
    """Load what a fork would have to: drivers, modules of Python, programs and their libraries."""
    run("modprobe", "-a", "-q", *DRIVERS)
    for name in (*MODULES, *configured_modules()):
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # of another cloud-init: what it lacks, no stage will import
    scratch = "/run/guesthouse/rehearsal"
    os.makedirs(scratch, 0o700, exist_ok=True)
    for line in REHEARSED:
        run("/bin/sh", "-c", line.format(scratch))
    run("rm", "-r", scratch)
    for path in PROGRAMS:
        read_through(path)
    for folder in LIBRARIES:
        for place, _, names in os.walk(folder):
            for name in names:
                read_through(os.path.join(place, name))
    run("udevadm", "settle")


def configured_modules() -> Iterator[str]:
    """The modules of cloud-init's three lists."""
    from cloudinit.stages import Init  # type: ignore[import-not-found]

    init = Init([])
    init.read_cfg()
    for section in SECTIONS:
        for entry in init.cfg.get(section) or ():
            name = entry[0] if isinstance(entry, list) else entry
            yield "cloudinit.config.cc_" + name.replace("-", "_")


def read_through(path: str) -> None:
    try:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    except OSError:
        pass


def run(*argv: str) -> None:
    """Only its reading counts, not how it ends."""
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
