"""Images as folders of this house: the steps of every image operation, one row each.

Rules
-----
1. An image is made in ``.making-ID`` beside its place and gets its place by one rename: until then it is not there.
2. A step that was killed is done again from the start; what it had half made is thrown away. A download goes on.
3. What is published is described in ``image.json`` beside its files: doing `publish` again reads it back.
4. A tenant's URL may not lead to this host or its network (`web.Reach.private`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from guesthouse.formats import checksum as checksums
from guesthouse.formats.checksum import Checksum
from guesthouse.host import durable, identity
from guesthouse.host.images import export
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.debian import build_debian
from guesthouse.host.images.imports import import_disk
from guesthouse.host.images.micro import build_micro
from guesthouse.host.images.preparing import Preparer
from guesthouse.host.machines.once import Once
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.house import House
from guesthouse.model.resources import Disk, Image
from guesthouse.ports import Progress
from guesthouse.qemu.block import DiskFile, downward

# What speaks to servers (httpx) is loaded by the first image that comes from one: it is a tenth of an idle daemon.
if TYPE_CHECKING:
    from guesthouse.host.images.web import Reach

_MIB = 1 << 20
_FACTS = "image.json"

BUILDERS: dict[str, Callable[[Path, Path, Progress], Awaitable[BuiltImage]]] = {
    "micro": build_micro,
    "debian": build_debian,
}

# Who cloud-init makes in the images of these systems: `system_info.default_user` of each one's cloud.cfg.
DEFAULT_USERS = {
    "micro": "root",
    "debian": "debian",
    "ubuntu": "ubuntu",
    "almalinux": "almalinux",
    "alpine": "alpine",
    "archlinux": "arch",
    "centos": "cloud-user",
    "fedora": "fedora",
    "opensuse": "opensuse",
    "rockylinux": "rocky",
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an image turned out to be: the columns of its record that its making fills."""

    format: str = ""
    virtual_mib: int = 0
    file_bytes: int = 0
    digest: str = ""
    disk: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    os: str = ""
    version: str = ""
    family: str = ""
    user: str = ""


@dataclass(frozen=True)
class Job:
    """One step of one operation: the image, what the steps before it left, and whom to tell."""

    image: Image
    context: Mapping[str, Any]
    progress: Progress


class ImageShelf:
    """Implements `ports.ImageHost` in the folders of a house."""

    def __init__(self, house: House, once: Once) -> None:
        self._house = house
        self._disks = once.disks
        self._preparer = Preparer(once)

    async def perform(
        self, kind: str, step: str, image: Image, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of an image operation, return what to add to its context."""
        return await _STEPS[kind, step](self, Job(image, context, progress))

    async def discard(self, image: Image, context: Mapping[str, Any]) -> None:
        """Remove all that the steps of this image made. A download stays, to be gone on with."""
        if context["kind"] == "image.export":
            return
        if context["kind"] == "image.prepare":
            await self._preparer.clear(image)
        for folder in (self._making(image), self._place(image)):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    # --- steps -----------------------------------------------------------------------------------------------

    async def build(self, job: Job) -> Mapping[str, Any]:
        """Build from Debian packages; the source says which recipe."""
        recipe = job.image.source.partition(":")[2]
        making = self._making(job.image)
        await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        self._house.images.mkdir(parents=True, exist_ok=True)
        built = await BUILDERS[recipe](making, self._house.cache, job.progress)
        facts = Facts(
            disk=built.disk or "",
            kernel=built.kernel or "",
            initrd=built.initrd or "",
            cmdline=built.cmdline,
            os=built.os,
            version=built.version,
            family=job.image.family or recipe,
            user=DEFAULT_USERS.get(built.os, "root"),
        )
        return {"made": msgspec.to_builtins(facts), "result": {"note": built.note} if built.note else {}}

    async def resolve(self, job: Job) -> Mapping[str, Any]:
        """Find out what a reference like ``debian:12`` means today."""
        from guesthouse.host.images import simplestreams

        reference, server = job.image.source, job.context.get("server", "")
        remotes = simplestreams.REMOTES
        if server:
            name = reference.partition(":")[0]
            remotes = {name: simplestreams.Remote(server, variants=("", "cloud", "default"))}
        job.progress("looking")
        reach = self._reach(job)
        found = await simplestreams.find(reference, architecture=job.image.architecture, remotes=remotes, reach=reach)
        facts = Facts(os=found.os, version=found.version, user=DEFAULT_USERS.get(found.os, ""))
        return {
            "url": found.url,
            "checksum": str(found.checksum),
            "made": msgspec.to_builtins(facts),
            "result": {"url": found.url, "version": found.version, "signature": found.signature.detail},
        }

    async def fetch(self, job: Job) -> Mapping[str, Any]:
        """Bring a URL's file into the cache; a file of this host stays where it is."""
        from guesthouse.host.images.download import download

        url = job.context.get("url") or job.image.source
        if url.startswith("/"):
            return {"file": url}
        target = self._house.cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:32]
        target.parent.mkdir(parents=True, exist_ok=True)
        expected = self._expected(job)
        await download(url, target, checksum=expected, reach=self._reach(job), progress=job.progress)
        return {"file": str(target), "downloaded": True}

    async def convert(self, job: Job) -> Mapping[str, Any]:
        """Make a disk of ours of the file, looking closely."""
        making = self._making(job.image)
        await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        making.mkdir(mode=0o700, parents=True)
        downloaded = bool(job.context.get("downloaded"))
        url = job.context.get("url") or job.image.source
        imported = await import_disk(
            Path(job.context["file"]),
            making / "disk.qcow2",
            declared_format=job.context.get("format") or None,
            checksum=None if downloaded else self._expected(job),
            progress=job.progress,
            name=url.rpartition("/")[2] or job.image.name,
            ours=downloaded,
        )
        made = msgspec.convert(job.context.get("made", {}), Facts)
        user = job.image.user or made.user or DEFAULT_USERS.get(made.os, "")
        facts = msgspec.structs.replace(made, disk="disk.qcow2", family=job.image.family, user=user)
        return {"made": msgspec.to_builtins(facts), "source_format": imported.source_format}

    async def copy(self, job: Job) -> Mapping[str, Any]:
        """Make a disk of ours of a layer of a machine's, beside what the machine starts with."""
        disk = msgspec.convert(job.context["disk"], Disk)
        below = (msgspec.convert(job.context["below"], Image),) if job.context["below"] else ()
        file = self._disks.chain(disk, job.context["reading"]["layer"], below)
        return await self._flatten(job, file)

    async def link(self, job: Job) -> Mapping[str, Any]:
        """Have the files of another image: they are never written to, so that both can have the same ones."""
        origin = msgspec.convert(job.context["origin"], Image)
        making = self._making(job.image)
        await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        making.mkdir(mode=0o700, parents=True)
        for name in filter(None, (origin.disk, origin.kernel, origin.initrd)):
            (making / name).hardlink_to(self._place(origin) / name)
        same = ("disk", "kernel", "initrd", "cmdline", "os", "version", "user")
        facts = Facts(**{name: getattr(origin, name) for name in same}, family=job.image.family)
        return {"made": msgspec.to_builtins(facts)}

    async def boot(self, job: Job) -> Mapping[str, Any]:
        """Boot the image that is to be prepared, until it has its gate."""
        origin = msgspec.convert(job.context["origin"], Image)
        await self._preparer.prepare(job.image, origin, job.context["project_number"], job.progress)
        return {}

    async def copy_prepared(self, job: Job) -> Mapping[str, Any]:
        """Make a disk of ours of what that boot has left."""
        origin = msgspec.convert(job.context["origin"], Image)
        return await self._flatten(job, self._preparer.changed(job.image, origin))

    async def publish_prepared(self, job: Job) -> Mapping[str, Any]:
        """Publish it, and leave nothing of the boot."""
        published = await self.publish(job)
        await self._preparer.clear(job.image)
        return published

    async def publish(self, job: Job) -> Mapping[str, Any]:
        """Describe what was made, and put it in its place."""
        job.progress("publishing")
        making, place = self._making(job.image), self._place(job.image)
        if not place.exists():
            made = msgspec.convert(job.context["made"], Facts)
            facts = await asyncio.to_thread(_described, making, made)
            await asyncio.to_thread(self._put, making, place, job, facts)
        facts = msgspec.json.decode((place / _FACTS).read_bytes(), type=Facts)
        if job.context.get("downloaded"):
            Path(job.context["file"]).unlink(missing_ok=True)
        return {"facts": msgspec.to_builtins(facts)}

    async def check_target(self, job: Job) -> Mapping[str, Any]:
        """Refuse to write over anything. Asked once: what is there later is what `export` left itself."""
        target = Path(job.context["path"])
        if not target.parent.is_dir():
            raise Invalid(
                f"there is no folder {target.parent}", field="path", value=str(target), hint="make it, or name another"
            )
        if target.exists():
            raise Conflict(f"{target} is there already", field="path", value=str(target), hint="name a new file")
        return {}

    async def export(self, job: Job) -> Mapping[str, Any]:
        """Write the image's disk to a new file of this host."""
        exported = await export.export_disk(
            [export.Layer(self._place(job.image) / job.image.disk, "qcow2")],
            Path(job.context["path"]),
            format=job.context["format"],
            compress=job.context["compress"],
            progress=job.progress,
        )
        return {"result": {"path": str(exported.path), "file_bytes": exported.file_bytes}}

    async def remove(self, job: Job) -> Mapping[str, Any]:
        """Take the image off the shelf, then remove its files."""
        gone = self._house.images / f".gone-{job.image.id}"
        place = self._place(job.image)
        if place.exists():
            place.rename(gone)
            durable.sync_folder(self._house.images)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
        return {}

    # --- what they share -------------------------------------------------------------------------------------

    async def _flatten(self, job: Job, file: DiskFile) -> Mapping[str, Any]:
        """One file of a disk and all that lies under it, with kernel and facts of the image that it goes back to."""
        making = self._making(job.image)
        await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        making.mkdir(mode=0o700, parents=True)
        layers = [export.Layer(layer.path, layer.format.value) for layer in downward(file)]
        await export.export_disk(
            layers, making / "disk.qcow2", format="qcow2", compress=True, progress=job.progress, doing="copying"
        )
        made = Facts(disk="disk.qcow2", family=job.image.family)
        if job.context.get("origin"):
            made = await asyncio.to_thread(self._as_origin, making, msgspec.convert(job.context["origin"], Image), made)
        return {"made": msgspec.to_builtins(made)}

    def _as_origin(self, making: Path, origin: Image, made: Facts) -> Facts:
        """What is with an image beside its disk: the files that start it, and what is known of it."""
        for name in filter(None, (origin.kernel, origin.initrd)):
            shutil.copyfile(self._place(origin) / name, making / name)
        same = ("kernel", "initrd", "cmdline", "os", "version", "user")
        return msgspec.structs.replace(made, **{name: getattr(origin, name) for name in same})

    def _place(self, image: Image) -> Path:
        return self._house.images / image.id

    def _making(self, image: Image) -> Path:
        return self._house.images / f".making-{image.id}"

    def _reach(self, job: Job) -> Reach:
        from guesthouse.host.images.web import Reach

        return Reach(private=bool(job.context.get("house")))

    def _expected(self, job: Job) -> Checksum | None:
        text = job.context.get("checksum") or job.context.get("sha256")
        return checksums.parse(text) if text else None

    def _put(self, making: Path, place: Path, job: Job, facts: Facts) -> None:
        durable.write_whole(making / _FACTS, msgspec.json.encode(facts), mode=0o644)
        identity.share_image(making, public=job.image.public, project_number=job.context["project_number"])
        for file in making.iterdir():
            _make_durable(file)
        making.rename(place)
        durable.sync_folder(self._house.images)


def _described(folder: Path, made: Facts) -> Facts:
    """Sizes and digest of what was made; the digest is that of the disk, or of the initrd where there is none."""
    main = folder / (made.disk or made.initrd)
    with main.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(24)
        virtual_bytes = int.from_bytes(file.read(8), "big") if made.disk else 0
    files = [folder / name for name in (made.disk, made.kernel, made.initrd) if name]
    return msgspec.structs.replace(
        made,
        format="qcow2" if made.disk else "",
        virtual_mib=-(-virtual_bytes // _MIB),
        file_bytes=sum(path.stat().st_size for path in files),
        digest=digest,
    )


def _make_durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


_STEPS: dict[tuple[str, str], Callable[[ImageShelf, Job], Awaitable[Mapping[str, Any]]]] = {
    ("image.build", "build"): ImageShelf.build,
    ("image.build", "publish"): ImageShelf.publish,
    ("image.import", "fetch"): ImageShelf.fetch,
    ("image.import", "convert"): ImageShelf.convert,
    ("image.import", "publish"): ImageShelf.publish,
    ("image.pull", "resolve"): ImageShelf.resolve,
    ("image.pull", "fetch"): ImageShelf.fetch,
    ("image.pull", "convert"): ImageShelf.convert,
    ("image.pull", "publish"): ImageShelf.publish,
    ("image.create", "copy"): ImageShelf.copy,
    ("image.create", "publish"): ImageShelf.publish,
    ("image.copy", "link"): ImageShelf.link,
    ("image.copy", "publish"): ImageShelf.publish,
    ("image.prepare", "boot"): ImageShelf.boot,
    ("image.prepare", "copy"): ImageShelf.copy_prepared,
    ("image.prepare", "publish"): ImageShelf.publish_prepared,
    ("image.export", "check"): ImageShelf.check_target,
    ("image.export", "export"): ImageShelf.export,
    ("image.delete", "remove"): ImageShelf.remove,
}
