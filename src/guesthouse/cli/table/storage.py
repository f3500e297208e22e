"""Commands on disks and images."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import host_path, host_path_or_url, size, truth

SECTION = "Disks, images and templates"

_DISK = Argument("disk", "name or id of the disk", complete="disk")
_IMAGE = Argument("image", "name, id or family of the image", complete="image")
_YES = Option("--yes -y", "yes", "do not ask", switch=True, local=True)
_FORMATS = ("qcow2", "raw")
_FOREIGN_FORMATS = ("qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi")
_NAME = Option("--name -n", "name", "name of the image; found from the source when not given", "NAME")
_PUBLIC = Option("--public", "public", "let every project use it", switch=True)

_DISK_FIELDS = (
    Column("name", "name"),
    Column("id", "id"),
    Column("state", "state"),
    Column("size", "size_mib", "mib"),
    Column("format", "format"),
    Column("thin", "thin", "yes"),
    Column("machine", "machine_name"),
    Column("created", "created_at", "time"),
)

_DISKS = (
    Command(
        "disk create",
        "make a disk, empty or of an image",
        SECTION,
        (
            Argument("name", "name of the disk"),
            Argument("size_mib", "its size, like 10G; that of its image when not given", "SIZE", read=size,
                     required=False),
            Option("--from", "image", "the image whose content it is to have", "IMAGE", complete="image"),
            Option("--format", "format", "its format (qcow2)", choices=_FORMATS),
            Option("--thin", "thin", "take blocks when they are written, or all at once (yes)", "yes|no", read=truth),
        ),
        Request("POST", "/disks"),
        done="made disk {name}",
        durable=True,
        examples=("guest disk create data 10G", "guest disk create fast 4G --format raw --thin no",
                  "guest disk create restored --from data-monday"),
    ),
    Command(
        "disk list",
        "list disks",
        SECTION,
        (),
        Request("GET", "/disks"),
        columns=(
            Column("NAME", "name"),
            Column("STATE", "state"),
            Column("SIZE", "size_mib", "mib", right=True),
            Column("FORMAT", "format"),
            Column("THIN", "thin", "yes"),
            Column("MACHINE", "machine"),
            Column("AGE", "created_at", "age", right=True),
        ),
        names=(("machine", "/machines"),),
        aliases=("ls",),
    ),
    Command(
        "disk show", "show a disk", SECTION, (_DISK,), Request("GET", "/disks/{disk}"), fields=_DISK_FIELDS,
        examples=("guest disk show data",),
    ),
    Command(
        "disk info", "show a disk's files as they are on the storage", SECTION, (_DISK,),
        Request("GET", "/disks/{disk}"), fields=(Column("name", "name"), Column("files", "chain", "chain")),
        examples=("guest disk info data",),
    ),
    Command(
        "disk attach",
        "give a disk to a machine, live where that can be",
        SECTION,
        (
            _DISK,
            Argument("machine", "name or id of the machine", complete="machine"),
            Option("--bus", "bus", "how the guest sees it (virtio)", choices=("virtio", "scsi", "ide")),
            Option("--cache", "cache", "how the host caches it (writeback)",
                   choices=("writeback", "writethrough", "none", "unsafe")),
            Option("--keep", "keep", "leave it there when the machine is deleted with its disks", switch=True),
        ),
        Request("POST", "/disks/{disk}/attach"),
        done="attached {disk} to {machine}",
        durable=True,
        examples=("guest disk attach data web",),
    ),
    Command(
        "disk detach", "take a disk from its machine", SECTION, (_DISK,), Request("POST", "/disks/{disk}/detach"),
        done="detached {disk}", durable=True, examples=("guest disk detach data",),
    ),
    Command(
        "disk resize",
        "make a disk larger",
        SECTION,
        (_DISK, Argument("size_mib", "its new size, like 20G", "SIZE", read=size)),
        Request("POST", "/disks/{disk}/resize"),
        done="resized {disk}",
        durable=True,
        examples=("guest disk resize data 20G",),
    ),
    Command(
        "disk convert",
        "change a disk's format",
        SECTION,
        (_DISK, Option("--format", "format", "its new format", choices=_FORMATS, required=True)),
        Request("POST", "/disks/{disk}/convert"),
        done="converted {disk} to {format}",
        durable=True,
        examples=("guest disk convert data --format raw",),
    ),
    Command(
        "disk delete", "delete a disk that no machine has", SECTION, (_DISK, _YES),
        Request("DELETE", "/disks/{disk}"), done="deleted disk {disk}", durable=True, confirm="Delete disk {disk}?",
        examples=("guest disk delete data",),
    ),
)  # fmt: skip

_IMAGES = (
    Command(
        "image build",
        "build an image from this host's Debian packages",
        SECTION,
        (
            Argument("recipe", "micro (small, up in seconds) or debian", "micro|debian", complete="recipe"),
            Option("--name -n", "name", "name of the image; the recipe's when not given", "NAME"),
        ),
        Request("POST", "/images/build"),
        done="built image {subject_name}",
        durable=True,
        examples=("guest image build micro", "guest image build debian"),
    ),
    Command(
        "image import",
        "take a disk image from a file of the host or a URL",
        SECTION,
        (
            Argument("source", "a file, compressed or not, or an http(s) URL", "FILE|URL", read=host_path_or_url,
                     complete="file"),
            _NAME,
            Option("--sha256", "sha256", "checksum that it must have", "HEX"),
            Option("--format", "format", "its format; found out when not given", choices=_FOREIGN_FORMATS),
            Option("--family", "family", "the family of which it is the newest", "NAME"),
            Option("--user", "user", "the login that cloud-init makes in it", "NAME"),
            _PUBLIC,
        ),
        Request("POST", "/images/import"),
        done="imported image {subject_name}",
        durable=True,
        run="image:import_image",
        examples=("guest image import disk.vmdk --name old-web",
                  "guest image import https://example.org/noble.img --sha256 9f86d0… --family ubuntu"),
    ),
    Command(
        "image pull",
        "fetch an image from an image server",
        SECTION,
        (
            Argument("reference", "what to fetch, like debian:12 or ubuntu:24.04", "NAME:RELEASE"),
            Option("--server", "server", "address of the image server", "URL"),
            Option("--name -n", "name", "name of the image; the reference when not given", "NAME"),
            _PUBLIC,
        ),
        Request("POST", "/images/pull"),
        done="pulled image {subject_name}",
        durable=True,
        examples=("guest image pull debian:12",),
    ),
    Command(
        "image create",
        "make an image of a disk, or of a machine's root disk",
        SECTION,
        (
            Argument("name", "name of the image"),
            Option("--from", "machine", "the machine as it is now, or as one of its snapshots has it",
                   "MACHINE[@SNAPSHOT]", complete="machine"),
            Option("--disk", "disk", "the disk, when it is not the machine's root disk", "DISK", complete="disk"),
            Option("--data", "data", "there is no system in it: it is for disks, not to launch from", switch=True),
            Option("--quiesce", "quiesce", "have the guest's agent freeze file systems for the moment it shows",
                   switch=True),
            Option("--pause", "pause", "have the machine stand still while its disk is read", switch=True),
            Option("--reboot", "reboot", "shut the machine down for the moment it shows, and start it again",
                   switch=True),
        ),
        Request("POST", "/images/create"),
        done="made image {subject_name}",
        durable=True,
        run="image:create",
        about="A machine that runs goes on, unless told otherwise: the image shows its disk at one moment, as after a "
        "power failure, or clean with --quiesce. Data disks are not part of it: each makes an "
        "image of its own. What is in the guest goes along, users and keys too; cloud-init configures a machine "
        "that is launched from it anew.",
        examples=("guest image create web-golden --from web --quiesce",
                  "guest image create web-golden --from web@before-upgrade",
                  "guest image create data-monday --disk data"),
    ),
    Command(
        "image copy",
        "make an image of one's own of another: it takes no room",
        SECTION,
        (_IMAGE, Argument("name", "name of the new image")),
        Request("POST", "/images/{image}/copy"),
        done="made image {subject_name}",
        durable=True,
        examples=("guest image copy golden our-golden",),
    ),
    Command(
        "image share",
        "let another project use an image",
        SECTION,
        (_IMAGE, Option("--with", "project", "name, id or number of the project", "PROJECT", required=True)),
        Request("POST", "/images/{image}/share"),
        done="project {project} can use image {image}",
        examples=("guest image share golden --with shop",),
    ),
    Command(
        "image unshare",
        "let another project use an image no more",
        SECTION,
        (_IMAGE, Option("--with", "project", "name, id or number of the project", "PROJECT", required=True)),
        Request("POST", "/images/{image}/unshare"),
        done="project {project} can use image {image} no more; what it has made of it stays",
        examples=("guest image unshare golden --with shop",),
    ),
    Command(
        "image change",
        "change what an image is for",
        SECTION,
        (
            _IMAGE,
            Option("--public", "public", "let every project use it (operators only)", "yes|no", read=truth),
            Option("--data", "data", "there is no system in it: it is for disks, not to launch from", "yes|no",
                   read=truth),
        ),
        Request("POST", "/images/{image}/change"),
        done="changed image {image}",
        examples=("guest image change golden --public yes",),
    ),
    Command(
        "image prepare",
        "make an image with a gate of one without, for templates",
        SECTION,
        (
            _IMAGE,
            Option("--name -n", "name", "name of the new image; IMAGE-prepared when not given", "NAME"),
            _PUBLIC,
        ),
        Request("POST", "/images/{image}/prepare"),
        done="made image {subject_name}: `guest template create {subject_name}` takes it",
        durable=True,
        about="Boots an imported Debian or Ubuntu image once, with its own cloud-init and systemd-networkd, and puts "
        "the gate into it at which templates wait. Images built here have one. The image itself stays as it is.",
        examples=("guest image prepare debian:12", "guest image prepare noble --name noble-fast"),
    ),
    Command(
        "image export",
        "write an image to a file of the host",
        SECTION,
        (
            _IMAGE,
            Argument("path", "the file to write", "FILE", read=host_path, complete="file"),
            Option("--format", "format", "format of the file (qcow2)", choices=_FOREIGN_FORMATS),
            Option("--compress", "compress", "compress it", switch=True),
        ),
        Request("POST", "/images/{image}/export"),
        done="exported {image} to {path}",
        durable=True,
        examples=("guest image export debian debian.vmdk --format vmdk",),
    ),
    Command(
        "image list",
        "list images: the project's own, shared and public ones",
        SECTION,
        (),
        Request("GET", "/images"),
        columns=(
            Column("NAME", "name"),
            Column("STATE", "state"),
            Column("FAMILY", "family"),
            Column("OS", "os"),
            Column("DISK", "virtual_mib", "mib", right=True),
            Column("FILES", "file_bytes", "bytes", right=True),
            Column("PUBLIC", "public", "yes"),
            Column("DATA", "data", "yes"),
            Column("AGE", "created_at", "age", right=True),
        ),
        aliases=("ls",),
    ),
    Command(
        "image show",
        "show an image",
        SECTION,
        (_IMAGE,),
        Request("GET", "/images/{image}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("state", "state"),
            Column("family", "family"),
            Column("version", "version"),
            Column("os", "os"),
            Column("architecture", "architecture"),
            Column("format", "format"),
            Column("disk", "virtual_mib", "mib"),
            Column("files", "file_bytes", "bytes"),
            Column("kernel", "kernel"),
            Column("initrd", "initrd"),
            Column("user", "user"),
            Column("public", "public", "yes"),
            Column("shared with", "shared_with", "list"),
            Column("data", "data", "yes"),
            Column("source", "source"),
            Column("sha256", "digest"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest image show debian",),
    ),
    Command(
        "image delete", "delete an image that no machine uses", SECTION,
        (_IMAGE, Option("--when-free", "when_free", "have nobody use it from now on, and delete it as soon as no "
                        "machine and no disk stands on it", switch=True), _YES),
        Request("DELETE", "/images/{image}"), done="deleted image {image}", durable=True,
        confirm="Delete image {image}?", examples=("guest image delete old-web", "guest image delete old --when-free"),
    ),
)  # fmt: skip

ROWS = (*_DISKS, *_IMAGES)

GROUPS = (
    Group("disk", "disks: make, attach, resize, convert", SECTION),
    Group("image", "images: build, import, pull, create, share, export", SECTION),
)
