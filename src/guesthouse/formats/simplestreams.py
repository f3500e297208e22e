"""Catalogues of image servers in simplestreams layout: parsed, and the right image chosen.

Rules
-----
1. ``streams/v1/index.json`` lists catalogues; those with datatype ``image-downloads`` have products, a product has
   versions, a version has items, an item is a file with a checksum.
2. An image is asked for as ``NAME:RELEASE[/VARIANT][/ARCHITECTURE][@VERSION]``: ``debian:12``,
   ``ubuntu:noble``, ``debian:bookworm/cloud/amd64``. RELEASE is a number, a code name, or an alias of the server.
3. The newest version that has a disk counts; items are preferred in the order of `DISKS`, variants in that of the
   server's row.
4. What cannot run here, or has no checksum, is refused with the reason. A path that leaves the server is too.

Sources: the layout as lp:simplestreams documents and writes it; Ubuntu's cloud images (``disk1.img``) and those of
Incus and LXD (``disk-kvm.img``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from guesthouse.formats import checksum as sums
from guesthouse.formats.checksum import Checksum
from guesthouse.model.errors import Invalid, NotFound

INDEX_PATH = "streams/v1/index.json"
DISKS = ("disk1.img", "disk-kvm.img", "uefi1.img", "disk.img")
"""File types that are a bootable disk, best first."""

ARCHITECTURES = {
    "amd64": "amd64", "x86_64": "amd64",
    "arm64": "arm64", "aarch64": "arm64",
    "armhf": "armhf", "armv7l": "armhf",
    "i386": "i386", "i686": "i386",
    "ppc64el": "ppc64el", "ppc64le": "ppc64el",
    "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
"""Names of architectures and what Debian calls them."""

_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*):(?P<rest>[\w.,+~-]+(?:/[\w.+~-]+)*)(?:@(?P<version>[\w.:-]+))?")
_SHOWN_RELEASES = 12


@dataclass(frozen=True, slots=True)
class Reference:
    """What is asked for: ``NAME:RELEASE[/VARIANT][/ARCHITECTURE][@VERSION]``; empty is "not told"."""

    name: str
    release: str
    variant: str = ""
    architecture: str = ""
    version: str = ""


class Item(msgspec.Struct, frozen=True):
    """A file of a version."""

    ftype: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    sha512: str = ""

    def checksum(self) -> Checksum | None:
        """The strongest sum that the catalogue tells."""
        digits = self.sha512 or self.sha256
        return sums.parse(digits) if digits else None


class Version(msgspec.Struct, frozen=True):
    """A build of a product."""

    items: dict[str, Item] = {}

    def disk(self) -> Item | None:
        """The best bootable disk of `DISKS`."""
        by_type = {item.ftype or name: item for name, item in self.items.items()}
        return next((by_type[kind] for kind in DISKS if kind in by_type), None)


class Product(msgspec.Struct, frozen=True):
    """An operating system, release, architecture and variant, with its builds."""

    aliases: str = ""
    arch: str = ""
    os: str = ""
    release: str = ""
    release_title: str = ""
    release_codename: str = ""
    version: str = ""
    variant: str = ""
    supported: bool = True
    versions: dict[str, Version] = {}

    def names(self) -> set[str]:
        """All that its release may be called, in lower case."""
        aliases = [alias.strip() for alias in self.aliases.split(",")]
        # Incus writes OS/RELEASE[/VARIANT], Ubuntu just RELEASE.
        releases = [alias.split("/")[1] if "/" in alias else alias for alias in aliases]
        code = self.release_codename.split(" ")[0]
        return {name.lower() for name in (self.release, self.version, code, *releases) if name}

    def newest(self) -> str | None:
        """The name of the newest version with a disk."""
        names = [name for name, version in self.versions.items() if version.disk() is not None]
        return max(names, key=_natural, default=None)


@dataclass(frozen=True, slots=True)
class Choice:
    """An image that was found: `path` is relative to the server's URL."""

    product: Product
    version: str
    path: str
    file_bytes: int
    checksum: Checksum


class _Entry(msgspec.Struct):
    path: str = ""
    datatype: str = ""


class _Index(msgspec.Struct):
    index: dict[str, _Entry]
    format: str = "index:1.0"


class _Products(msgspec.Struct):
    products: dict[str, Product]
    format: str = "products:1.0"


_Document = TypeVar("_Document", _Index, _Products)


def parse_reference(text: str) -> Reference:
    """Read ``debian:12/arm64`` and the like; raises `Invalid`."""
    found = _REFERENCE.fullmatch(text.strip().lower())
    if found is None:
        raise Invalid(
            f"{text!r} names no image of a server",
            field="image",
            value=text,
            hint="NAME:RELEASE, for instance debian:12 or ubuntu:24.04",
        )
    release, *rest = found["rest"].split("/")
    architectures = [ARCHITECTURES[part] for part in rest if part in ARCHITECTURES]
    variants = [part for part in rest if part not in ARCHITECTURES]
    if len(architectures) > 1 or len(variants) > 1:
        raise Invalid(
            f"{text!r} names more than one variant or architecture",
            field="image",
            value=text,
            hint="NAME:RELEASE[/VARIANT][/ARCHITECTURE]",
        )
    return Reference(found["name"], release, "".join(variants), "".join(architectures), found["version"] or "")


def parse_index(data: bytes, name: str) -> list[str]:
    """The paths of the catalogues of downloadable images; `name` is the document's, for messages."""
    index = _decode(data, _Index, name, "index:1.0")
    return [safe_path(entry.path, name) for entry in index.index.values() if entry.datatype in ("image-downloads", "")]


def parse_products(data: bytes, name: str) -> dict[str, Product]:
    """The products of one catalogue, by id."""
    return _decode(data, _Products, name, "products:1.0").products


def safe_path(path: str, name: str) -> str:
    """A path that stays below the server's URL; raises `Invalid` for any other."""
    parts = path.split("/")
    if not path or "" in parts or ".." in parts or "." in parts or re.search(r"[\\?#%\x00-\x20]|^[^/]*:", path):
        raise Invalid(f"{name} has a path that leads elsewhere: {path!a}", field="path", value=path)
    return path


def choose(
    products: Mapping[str, Product],
    wanted: Reference,
    *,
    os: str,
    variants: Sequence[str],
    architecture: str,
    name: str,
) -> Choice:
    """The image that `wanted` means on this server, for machines of `architecture` (as Debian calls it).

    `os` limits the products to one system ("": all); `variants` are the preferred ones, best first. Raises
    `Invalid` when it cannot run here, `NotFound` saying what there is instead.
    """
    if wanted.architecture and wanted.architecture != architecture:
        raise Invalid(
            f"{name} is for {wanted.architecture}; machines of this host are {architecture}",
            field="architecture",
            value=wanted.architecture,
            hint=f"leave the architecture out, or say {architecture}",
        )
    family = [product for product in products.values() if not os or product.os.lower() == os.lower()]
    found = _of_architecture(_of_release(family, wanted, name), architecture, name)
    product = _of_variant(found, wanted, variants, name)
    return _of_version(product, wanted, name)


def _of_release(family: Sequence[Product], wanted: Reference, name: str) -> list[Product]:
    found = [product for product in family if wanted.release in product.names()]
    if not found:
        known = sorted({product.version or product.release for product in family if product.newest()}, key=_natural)
        raise NotFound(
            f"there is no {name}: the server has no release {wanted.release}",
            field="image",
            value=wanted.release,
            hint=f"it has {', '.join(known[-_SHOWN_RELEASES:]) or 'nothing of that name'}",
        )
    return found


def _of_architecture(products: list[Product], architecture: str, name: str) -> list[Product]:
    found = [product for product in products if ARCHITECTURES.get(product.arch, product.arch) == architecture]
    if not found:
        others = ", ".join(sorted({product.arch for product in products}))
        raise NotFound(
            f"there is no {name} for {architecture}",
            field="architecture",
            value=architecture,
            hint=f"only for {others}",
        )
    return found


def _of_variant(products: list[Product], wanted: Reference, preferred: Sequence[str], name: str) -> Product:
    order = [wanted.variant] if wanted.variant else [*preferred, *sorted({product.variant for product in products})]
    for variant in order:
        for product in products:
            if product.variant.lower() == variant and (product.newest() or wanted.version):
                return product
    others = ", ".join(sorted({product.variant for product in products if product.newest()} - {""}))
    raise NotFound(
        f"there is no disk of {name}" + (f" in the variant {wanted.variant}" if wanted.variant else ""),
        field="variant",
        value=wanted.variant,
        hint=f"there is {others}" if others else "the server has it for containers only",
    )


def _of_version(product: Product, wanted: Reference, name: str) -> Choice:
    version = wanted.version or product.newest() or ""
    build = product.versions.get(version)
    disk = build.disk() if build else None
    if disk is None:
        known = sorted((each for each, build in product.versions.items() if build.disk()), key=_natural)
        raise NotFound(
            f"there is no disk of {name} in version {version}",
            field="version",
            value=version,
            hint=f"there is {', '.join(known[-_SHOWN_RELEASES:])}",
        )
    checksum = disk.checksum()
    if checksum is None:
        raise Invalid(f"{name} has no checksum on its server", field="checksum", hint="use another version")
    return Choice(product, version, safe_path(disk.path, name), disk.size, checksum)


def _decode(data: bytes, kind: type[_Document], name: str, format: str) -> _Document:
    try:
        document = msgspec.json.decode(data, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise Invalid(f"{name} is no simplestreams document: {error}", field="document", value=name) from error
    if document.format != format:
        raise Invalid(f"{name} has the format {document.format!a}; {format} is known here", field="format", value=name)
    return document


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key by which 9 comes before 10, and 20240423 before 20240423.1."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|[^\d]+", text)]
