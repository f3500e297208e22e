"""Catalogues in the layouts of Ubuntu's cloud images and of Incus, and a server that serves them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.fileserver import File, Server


def content(path: str) -> bytes:
    """What is served at a path: its own name, many times."""
    return path.encode() * 1000


def digits(path: str) -> str:
    """The sha256 of `content`."""
    return hashlib.sha256(content(path)).hexdigest()


def _item(ftype: str, path: str) -> dict[str, Any]:
    return {"ftype": ftype, "path": path, "size": len(content(path)), "sha256": digits(path), "md5": "0" * 32}


def _ubuntu(version: str, codename: str, arch: str, aliases: str, builds: list[str]) -> dict[str, Any]:
    stem = f"server/releases/{codename}/release-{{}}/ubuntu-{version}-server-cloudimg-{arch}"
    return {
        "aliases": aliases,
        "arch": arch,
        "os": "ubuntu",
        "release": codename,
        "release_codename": codename.capitalize() + " Something",
        "release_title": f"{version} LTS",
        "support_eol": "2029-05-31",
        "supported": True,
        "version": version,
        "versions": {
            build: {
                "label": "release",
                "pubname": f"ubuntu-{codename}-{version}-{arch}-server-{build}",
                "items": {
                    "disk1.img": _item("disk1.img", stem.format(build) + "-disk1.img"),
                    "uefi1.img": _item("uefi1.img", stem.format(build) + "-uefi1.img"),
                    "root.tar.xz": _item("root.tar.xz", stem.format(build) + "-root.tar.xz"),
                    "manifest": _item("manifest", stem.format(build) + ".manifest"),
                },
            }
            for build in builds
        },
    }


def _incus(release: str, number: str, arch: str, variant: str, builds: dict[str, bool]) -> dict[str, Any]:
    stem = f"images/debian/{release}/{arch}/{variant}"
    suffix = "" if variant == "default" else f"/{variant}"
    return {
        "aliases": f"debian/{release}{suffix},debian/{number}{suffix}",
        "arch": arch,
        "os": "Debian",
        "release": release,
        "release_title": release,
        "requirements": {},
        "variant": variant,
        "versions": {
            build: {
                "items": {
                    "incus.tar.xz": _item("incus.tar.xz", f"{stem}/{build}/incus.tar.xz"),
                    "root.squashfs": _item("squashfs", f"{stem}/{build}/rootfs.squashfs"),
                    **({"disk.qcow2": _item("disk-kvm.img", f"{stem}/{build}/disk.qcow2")} if disk else {}),
                }
            }
            for build, disk in builds.items()
        },
    }


UBUNTU: dict[str, Any] = {
    "content_id": "com.ubuntu.cloud:released:download",
    "datatype": "image-downloads",
    "format": "products:1.0",
    "products": {
        "com.ubuntu.cloud:server:24.04:amd64": _ubuntu(
            "24.04", "noble", "amd64", "24.04,default,lts,n,noble", ["20260320", "20260410"]
        ),
        "com.ubuntu.cloud:server:24.04:arm64": _ubuntu(
            "24.04", "noble", "arm64", "24.04,default,lts,n,noble", ["20260410"]
        ),
        "com.ubuntu.cloud:server:22.04:amd64": _ubuntu(
            "22.04", "jammy", "amd64", "22.04,j,jammy", ["20260401.9", "20260401.10", "20260331"]
        ),
    },
}

_BUILDS = {"20260318_05:24": True, "20260319_05:24": True, "20260320_05:24": False}
INCUS: dict[str, Any] = {
    "content_id": "images",
    "datatype": "image-downloads",
    "format": "products:1.0",
    "products": {
        "debian:bookworm:amd64:default": _incus("bookworm", "12", "amd64", "default", _BUILDS),
        "debian:bookworm:amd64:cloud": _incus("bookworm", "12", "amd64", "cloud", _BUILDS),
        "debian:bookworm:arm64:cloud": _incus("bookworm", "12", "arm64", "cloud", _BUILDS),
        "debian:bullseye:amd64:default": _incus("bullseye", "11", "amd64", "default", {"20260320_05:24": False}),
    },
}


def documents(catalogue: dict[str, Any], path: str) -> dict[str, bytes]:
    """The index and the catalogue, by path."""
    index = {
        "format": "index:1.0",
        "index": {
            catalogue["content_id"]: {
                "datatype": catalogue["datatype"],
                "format": catalogue["format"],
                "path": path,
                "products": sorted(catalogue["products"]),
            },
            "com.example:ids": {"datatype": "image-ids", "format": "products:1.0", "path": "streams/v1/ids.json"},
        },
    }
    return {"streams/v1/index.json": json.dumps(index).encode(), path: json.dumps(catalogue).encode()}


def serve(server: Server, prefix: str, catalogue: dict[str, Any], path: str) -> None:
    """Serve a catalogue and all its items below `prefix`."""
    for name, data in documents(catalogue, path).items():
        server.files[f"{prefix}/{name}"] = File(data)
    for product in catalogue["products"].values():
        for build in product["versions"].values():
            for item in build["items"].values():
                server.files[f"{prefix}/{item['path']}"] = File(content(item["path"]))
