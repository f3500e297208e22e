"""Image servers: which are known, what they have, and whether what they say is signed.

Rules
-----
1. A server is a row of `REMOTES`. The image itself is verified by the checksum in the server's catalogue.
2. The catalogue is as trustworthy as its signature says: where the server signs it (``.sjson``) and gpgv and the
   server's keyring are on this host, the signature must be good. A bad or missing one is an error, never a
   reason to take the unsigned document.
3. Where that cannot be checked, `Signature.verified` is False and its detail says why; trust then rests on https.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guesthouse.formats import simplestreams as streams
from guesthouse.formats.checksum import Checksum
from guesthouse.formats.simplestreams import ARCHITECTURES, Product
from guesthouse.host import processes
from guesthouse.host.images import download, web
from guesthouse.host.images.web import Reach
from guesthouse.model.errors import ChildFailed, Failed, Invalid, NotFound

_MAX_DOCUMENT_BYTES = 64 << 20
_MAX_CATALOGUES = 8
_GPGV_LIMITS = processes.Limits(cpu_s=60, memory_mib=512)
_GPGV_TIMEOUT_S = 120
_ANYWHERE = Reach()


class Remote(NamedTuple):
    """A row: where the server is, which of its products are meant, and with which keyring it signs.

    `os` limits the products to one system ("": all); `variants` are the preferred ones, best first.
    """

    url: str
    os: str = ""
    variants: tuple[str, ...] = ("",)
    keyring: str = ""
    package: str = ""


_UBUNTU = "https://cloud-images.ubuntu.com"
_UBUNTU_KEYRING = "/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"
_LINUX_CONTAINERS = "https://images.linuxcontainers.org"
_CLOUD_INIT_FIRST = ("cloud", "default")

REMOTES: dict[str, Remote] = {
    "ubuntu": Remote(f"{_UBUNTU}/releases", "ubuntu", ("",), _UBUNTU_KEYRING, "ubuntu-cloudimage-keyring"),
    "ubuntu-daily": Remote(f"{_UBUNTU}/daily", "ubuntu", ("",), _UBUNTU_KEYRING, "ubuntu-cloudimage-keyring"),
    "ubuntu-minimal": Remote(
        f"{_UBUNTU}/minimal/releases", "ubuntu", ("",), _UBUNTU_KEYRING, "ubuntu-cloudimage-keyring"
    ),
    "debian": Remote(_LINUX_CONTAINERS, "debian", _CLOUD_INIT_FIRST),
    "almalinux": Remote(_LINUX_CONTAINERS, "almalinux", _CLOUD_INIT_FIRST),
    "alpine": Remote(_LINUX_CONTAINERS, "alpine", _CLOUD_INIT_FIRST),
    "archlinux": Remote(_LINUX_CONTAINERS, "archlinux", _CLOUD_INIT_FIRST),
    "centos": Remote(_LINUX_CONTAINERS, "centos", _CLOUD_INIT_FIRST),
    "fedora": Remote(_LINUX_CONTAINERS, "fedora", _CLOUD_INIT_FIRST),
    "opensuse": Remote(_LINUX_CONTAINERS, "opensuse", _CLOUD_INIT_FIRST),
    "rockylinux": Remote(_LINUX_CONTAINERS, "rockylinux", _CLOUD_INIT_FIRST),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Whether the catalogue's signature was checked and good, and by what, or why it was not checked."""

    verified: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """An image on a server: what to download, and what it is."""

    name: str
    url: str
    file_bytes: int
    checksum: Checksum
    os: str
    release: str
    title: str
    variant: str
    architecture: str
    version: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The products of a server, by id."""

    products: Mapping[str, Product]
    signature: Signature


async def find(
    text: str,
    *,
    architecture: str,
    remotes: Mapping[str, Remote] = REMOTES,
    reach: Reach = _ANYWHERE,
) -> Found:
    """The image that ``debian:12``, ``ubuntu:noble/arm64`` and the like mean, its newest version unless one is told.

    `architecture` is that of this host's machines, by any name in `formats.simplestreams.ARCHITECTURES`. Raises
    `NotFound` and `Invalid` saying what there is instead, and the errors of `download.fetch`.
    """
    wanted = streams.parse_reference(text)
    remote = remotes.get(wanted.name)
    if remote is None:
        raise NotFound(
            f"no image server is known by the name {wanted.name}",
            field="image",
            value=text,
            hint=f"known are {', '.join(remotes)}; or import a URL",
        )
    catalogue = await read_catalogue(remote, reach=reach)
    choice = streams.choose(
        catalogue.products,
        wanted,
        os=remote.os,
        variants=remote.variants,
        architecture=ARCHITECTURES.get(architecture, architecture),
        name=text,
    )
    return _found(text, remote, choice, catalogue.signature)


def _found(text: str, remote: Remote, choice: streams.Choice, signature: Signature) -> Found:
    product = choice.product
    return Found(
        name=text,
        url=_join(remote.url, choice.path),
        file_bytes=choice.file_bytes,
        checksum=choice.checksum,
        os=product.os.lower(),
        release=product.version or product.release,
        title=product.release_title or product.release,
        variant=product.variant,
        architecture=ARCHITECTURES.get(product.arch, product.arch),
        version=choice.version,
        signature=signature,
    )


async def read_catalogue(remote: Remote, *, reach: Reach = _ANYWHERE) -> Catalogue:
    """All products of a server, its signatures checked where that is possible here."""
    unable = await asyncio.to_thread(_why_not_verified, remote)
    keyring = "" if unable else remote.keyring
    index_path = _signed(streams.INDEX_PATH) if keyring else streams.INDEX_PATH
    index = await _read(remote, index_path, keyring, reach)
    paths = streams.parse_index(index, _join(remote.url, index_path))
    if not paths or len(paths) > _MAX_CATALOGUES:
        raise Invalid(f"{remote.url} lists {len(paths)} catalogues of images", field="index", value=remote.url)
    products: dict[str, Product] = {}
    for path in paths:
        document = _signed(path) if keyring else path
        data = await _read(remote, document, keyring, reach)
        products |= streams.parse_products(data, _join(remote.url, document))
    return Catalogue(products, Signature(not unable, unable or f"good, by {keyring}"))


def _why_not_verified(remote: Remote) -> str:
    """Empty when this server's signatures can be checked here."""
    if not remote.keyring:
        return f"not checked: {remote.url} is not known to sign its catalogue"
    if not os.access(remote.keyring, os.R_OK):
        return f"not checked: {remote.keyring} is missing (package {remote.package})"
    if shutil.which("gpgv") is None:
        return "not checked: gpgv is not installed"
    return ""


async def _read(remote: Remote, path: str, keyring: str, reach: Reach) -> bytes:
    """A document of the server; a signed one is checked, and only what the signature covers is returned."""
    url = _join(remote.url, path)
    data = await download.fetch(url, limit_bytes=_MAX_DOCUMENT_BYTES, reach=reach)
    return await _verified(data, url, keyring) if keyring else data


async def _verified(data: bytes, url: str, keyring: str) -> bytes:
    argv = ("gpgv", "--quiet", "--keyring", keyring, "--output", "-", "-")
    try:
        return await processes.run(argv, stdin=data, limits=_GPGV_LIMITS, timeout_s=_GPGV_TIMEOUT_S, subject=url)
    except ChildFailed as error:
        said = "".join(f"\n  {line}" for line in error.lines)
        raise Failed(
            f"the signature of {web.shown(url)} is not good by {keyring}{said}",
            subject=web.shown(url),
            field="signature",
            hint="the server or the way to it is not to be trusted now; nothing was downloaded",
        ) from error


def _signed(path: str) -> str:
    """The signed twin of a document: the index that is signed names signed catalogues already."""
    return path.removesuffix(".json") + ".sjson" if path.endswith(".json") else path


def _join(url: str, path: str) -> str:
    return f"{url.rstrip('/')}/{path}"
