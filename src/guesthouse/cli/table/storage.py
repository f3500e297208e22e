"""Commands on disks, images and templates."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import host_path, host_path_or_url, size, truth, whole

SECTION = "Disks, images and templates"

_DISK = Argument("disk", "name or id of the disk", complete="disk")
_IMAGE = Argument("image", "name, id or family of the image", complete="image")
_TEMPLATE = Argument("template", "name or id of the template", complete="template")
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
        "make an empty disk",
        SECTION,
        (
            Argument("name", "name of the disk"),
            Argument("size_mib", "its size, like 10G", "SIZE", read=size),
            Option("--format", "format", "its format (qcow2)", choices=_FORMATS),
            Option("--thin", "thin", "take blocks when they are written, or all at once (yes)", "yes|no", read=truth),
        ),
        Request("POST", "/disks"),
        done="made disk {name}",
        durable=True,
        examples=("guest disk create data 10G", "guest disk create fast 4G --format raw --thin no"),
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
        "make an image of a machine's root disk",
        SECTION,
        (
            Argument("name", "name of the image"),
            Option("--from", "machine", "the machine as it is now, or as one of its snapshots has it",
                   "MACHINE[@SNAPSHOT]", required=True, complete="machine"),
            Option("--quiesce", "quiesce", "have the guest's agent freeze file systems for the moment it shows",
                   switch=True),
            Option("--pause", "pause", "have the machine stand still while its disk is read", switch=True),
        ),
        Request("POST", "/images/create"),
        done="made image {subject_name}",
        durable=True,
        run="image:create",
        about="A machine that runs goes on, unless told otherwise: the image shows its disk at one moment, as after a "
        "power failure, or clean with --quiesce. Data disks are not part of it. What is in the guest goes along, users "
        "and keys too; cloud-init configures a machine launched from it anew.",
        examples=("guest image create web-golden --from web --quiesce",
                  "guest image create web-golden --from web@before-upgrade"),
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
        "list images: the project's own and public ones",
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
            Column("source", "source"),
            Column("sha256", "digest"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest image show debian",),
    ),
    Command(
        "image delete", "delete an image that no machine uses", SECTION, (_IMAGE, _YES),
        Request("DELETE", "/images/{image}"), done="deleted image {image}", durable=True,
        confirm="Delete image {image}?", examples=("guest image delete old-web",),
    ),
)  # fmt: skip

_TEMPLATES = (
    Command(
        "template create",
        "boot an image once and freeze it, for machines to be forked from",
        SECTION,
        (
            _IMAGE,
            Option("--name -n", "name", "name of the template; image, vCPUs and memory when not given", "NAME"),
            Option("--vcpus --cpus", "vcpus", "virtual processors (1)", "N", read=whole),
            Option("--memory -m", "memory_mib", "memory, like 512M or 2G (512M)", "SIZE", read=size),
            Option("--firmware", "firmware", "how it boots; auto takes the image's kernel where it has one",
                   choices=("auto", "direct", "bios", "uefi")),
            Option("--datasource", "datasource", "for machines that are configured by a seed disk (seed), or by the "
                   "metadata service", choices=("seed", "metadata")),
            Option("--public", "public", "let every project's machines share its memory (operators only)", switch=True),
        ),
        Request("POST", "/templates"),
        done="made template {subject_name}: launches of its image and size are forks of it",
        durable=True,
        about="A launch of this image with the same vCPUs, memory and firmware is then a fork of it and runs at once.",
        examples=("guest template create micro", "guest template create debian --memory 1G"),
    ),
    Command(
        "template list",
        "list templates",
        SECTION,
        (),
        Request("GET", "/templates"),
        columns=(
            Column("NAME", "name"),
            Column("STATE", "state"),
            Column("IMAGE", "image"),
            Column("VCPUS", "vcpus", right=True),
            Column("MEMORY", "memory_mib", "mib", right=True),
            Column("SHARED", "memory_bytes", "bytes", right=True),
            Column("BOOT", "boot_ms", "ms", right=True),
            Column("AGE", "created_at", "age", right=True),
        ),
        names=(("image", "/images"),),
        aliases=("ls",),
    ),
    Command(
        "template show",
        "show a template, and who was forked from it",
        SECTION,
        (_TEMPLATE,),
        Request("GET", "/templates/{template}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("state", "state"),
            Column("image", "image_name"),
            Column("vcpus", "vcpus"),
            Column("memory", "memory_mib", "mib"),
            Column("firmware", "spec.firmware"),
            Column("datasource", "spec.datasource"),
            Column("shared", "memory_bytes", "bytes"),
            Column("state size", "state_bytes", "bytes"),
            Column("boot", "boot_ms", "ms"),
            Column("public", "public", "yes"),
            Column("frozen by", "frozen_by"),
            Column("forks", "forks", "list"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest template show micro-1-512",),
    ),
    Command(
        "template delete", "delete a template that no disk stands on", SECTION, (_TEMPLATE, _YES),
        Request("DELETE", "/templates/{template}"), done="deleted template {template}", durable=True,
        confirm="Delete template {template}?", examples=("guest template delete micro-1-512",),
    ),
)  # fmt: skip

ROWS = (*_DISKS, *_IMAGES, *_TEMPLATES)

GROUPS = (
    Group("disk", "disks: make, attach, resize, convert", SECTION),
    Group("image", "images: build, import, pull, create, prepare, export", SECTION),
    Group("template", "templates: frozen machines to fork from", SECTION),
)
