"""Whom a machine's QEMU runs as, and who may read what.

Rules
-----
1. A daemon that is root gives every machine a user and a group of its own, the same number, and every project a
   group. The numbers are from 0x70000000 on, a range that systemd's "Users, Groups, UIDs and GIDs" lists as
   unused: projects from its start, machines from `MACHINES`, the name server of a network from `NETWORKS`. They have
   no names and no other files.
2. A machine's number is the group of its folder: made with the folder, gone with it, nothing else to keep.
3. A machine's folder belongs to root and has mode 0710: QEMU may pass through it to the files it is given and
   can neither list, replace nor add one. A broken-out QEMU finds its own disks and the images of its project.
4. A disk is 0600 and belongs to the machine that has it attached, else to root. Its layers that are not written to
   belong to root always; the machine may read them (0640, its group), or, where several disks have them, all machines
   of the project may. Snapshots are root's alone.
5. An image's folder is 0750 with its project's group, or 0755 when the image is public. Other projects that use it are
   named in its access list (acl(5)). The folders above are 0711: they can be passed through by those who know a name,
   and an id cannot be guessed.
6. A daemon that is not root, or is root of a user namespace without these numbers, runs QEMU as itself.
"""

from __future__ import annotations

import grp
import os
import shutil
import zlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from guesthouse.formats import acl
from guesthouse.host.durable import sync_folder
from guesthouse.model.errors import Failed
from guesthouse.model.house import House
from guesthouse.model.resources import Image

PROJECTS = range(0x7000_0000, 0x7100_0000)
MACHINES = range(0x7100_0000, 0x7800_0000)
NETWORKS = range(0x7800_0000, 0x7810_0000)
"""Users of what serves a network, by the network's number."""


@dataclass(frozen=True)
class Identity:
    """The user, group and supplementary groups of a process; None leaves them as the daemon's."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


def project_group(number: int) -> int:
    """The group that may read the images of a project."""
    return PROJECTS[number]


def can_confine() -> bool:
    """Whether this process may give others the numbers of `MACHINES`."""
    if os.geteuid() != 0:
        return False
    rows = (tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(inside <= PROJECTS.start and NETWORKS.stop <= inside + count for inside, _, count in rows)


def choose_number(machine_id: str, taken: Container[int]) -> int:
    """A free number for a machine: the same one again as long as it is free."""
    at = zlib.crc32(machine_id.encode()) % len(MACHINES)
    return next(
        number
        for number in (MACHINES[(at + step) % len(MACHINES)] for step in range(len(MACHINES)))
        if number not in taken
    )


def open_house(house: House) -> None:
    """Make the folders of a house in which machines live, and let machines pass through them."""
    for folder in (house.home, house.machines, house.disks, house.images, house.templates):
        folder.mkdir(parents=True, exist_ok=True)
        if can_confine():
            folder.chmod(0o711)
    house.snapshots.mkdir(mode=0o700, exist_ok=True)


def make_machine_folder(machines: Path, machine_id: str) -> Path:
    """Make a machine's folder with its number, whole or not at all; there already is as good."""
    folder = machines / machine_id
    if folder.is_dir():
        return folder
    partial = machines / f".{machine_id}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if can_confine():
        taken = {entry.stat(follow_symlinks=False).st_gid for entry in os.scandir(machines)}
        os.chown(partial, 0, choose_number(machine_id, taken))
        partial.chmod(0o710)
    partial.rename(folder)
    sync_folder(machines)
    return folder


def machine_number(folder: Path) -> int | None:
    """The user and group of the machine with this folder; None where machines run as the daemon."""
    group = folder.stat().st_gid
    return group if group in MACHINES else None


def identity_of(folder: Path, project_number: int, *, kvm: bool) -> Identity:
    """Whom the machine with this folder runs as; `kvm` adds the group that may open /dev/kvm."""
    number = machine_number(folder)
    if number is None:
        return Identity()
    groups = {project_group(project_number)}
    if kvm:
        groups.add(kvm_group())
    return Identity(number, number, tuple(sorted(groups)))


def kvm_group() -> int:
    """The group that may open /dev/kvm, never root's own; one of nobody where there is none."""
    owner = Path("/dev/kvm").stat().st_gid
    try:
        return owner or grp.getgrnam("kvm").gr_gid
    except KeyError:
        return PROJECTS.stop - 1


def give_to_machine(folder: Path, *paths: Path) -> None:
    """Let the machine with this folder alone read and write these files, and make files in these folders."""
    number = machine_number(folder)
    for path in paths:
        if number is not None:
            os.chown(path, number, number, follow_symlinks=False)
        path.chmod(0o700 if path.is_dir() else 0o600)


def let_project_read(project_number: int, *paths: Path) -> None:
    """Let the machines of a project read these files: several are about to have them."""
    for path in paths:
        if can_confine():
            os.chown(path, 0, project_group(project_number), follow_symlinks=False)
            path.chmod(0o640)


def is_shared(path: Path) -> bool:
    """Whether a file has several names: several disks have it."""
    return path.is_file() and path.stat().st_nlink > 1


def let_read(folder: Path, *paths: Path) -> None:
    """Let the machine with this folder read these files, and write them no more; it can read those that are shared."""
    number = machine_number(folder)
    for path in paths:
        if is_shared(path):
            continue
        if number is not None:
            os.chown(path, 0, number, follow_symlinks=False)
        path.chmod(0o600 if number is None else 0o640)


def take_back(*paths: Path) -> None:
    """Make files the daemon's own again; those that are gone need nothing, those that are shared are so already."""
    for path in paths:
        if can_confine() and path.exists() and not is_shared(path):
            os.chown(path, 0, 0, follow_symlinks=False)
            path.chmod(0o600)


def share_image(folder: Path, *, public: bool, project_number: int) -> None:
    """Let the machines of a project, or of every project, read the files of an image."""
    if not can_confine():
        return
    os.chown(folder, 0, 0 if public else project_group(project_number))
    folder.chmod(0o755 if public else 0o750)
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)


def open_image(images: Path, image: Image, project: str, project_number: int) -> None:
    """Let the machines of a project use an image: its own, a public one, or one that is shared with it."""
    if image.public or image.project == project:
        share_image(images / image.id, public=image.public, project_number=project_number)
    else:
        let_project_use(images / image.id, project_number)


def let_project_use(folder: Path, project_number: int) -> None:
    """Let the machines of one more project read an image; raises `Failed` where files have no access lists."""
    if not can_confine():
        return
    try:
        listed = os.getxattr(folder, acl.ATTRIBUTE)
    except OSError:
        listed = b""
    wanted = acl.with_group(listed, folder.stat().st_mode, project_group(project_number))
    if wanted == listed:
        return
    try:
        os.setxattr(folder, acl.ATTRIBUTE, wanted)
    except OSError as error:
        raise Failed(
            f"no other project can use the image in {folder}: {error.strerror}",
            subject=str(folder),
            hint="keep the house on a file system with access lists (acl(5)), or copy the image first",
        ) from error


def check_way(folder: Path) -> None:
    """Raise `Failed` when a folder above `folder` lets no other user through: QEMU could not reach its files."""
    if machine_number(folder) is None:
        return
    for above in folder.parents:
        if not above.stat().st_mode & 0o001:
            raise Failed(
                f"QEMU runs as a user of its own and cannot pass through {above}",
                subject=str(above),
                hint=f"`chmod o+x {above}`, or keep the house elsewhere with GUESTHOUSE_HOME",
            )
