"""Data sources: disks by their label, the metadata service over real HTTP."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from guesthouse.formats.iso9660 import build
from guesthouse.guestfiles.micro.firstboot import ec2, iso9660, sources

from .conftest import ScratchGuest
from .metadata_service import layout, serving

_START_BYTES = 0x8000 + 2048


def iso(label: str, files: Mapping[str, bytes] | None = None, **names: Any) -> bytes:
    """A CD-ROM image, written by a library that is not ours; `names` say which kinds of long names it has."""
    image, out = pycdlib.PyCdlib(), io.BytesIO()
    image.new(vol_ident=label, **names)
    for number, (name, data) in enumerate((files or {}).items()):
        long = {"joliet_path": f"/{name}"} if "joliet" in names else {}
        rock = {"rr_name": name} if "rock_ridge" in names else {}
        image.add_fp(io.BytesIO(data), len(data), f"/F{number}.;1", **rock, **long)
    image.write_fp(out)
    image.close()
    return out.getvalue()


def fat(folder: Path, label: str, *options: str) -> bytes:
    path = folder / "disk"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    subprocess.run(["mkfs.vfat", "-n", label, *options, str(path)], check=True, capture_output=True)
    return path.read_bytes()


@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_labels_of_disks(tmp_path: Path, label: str) -> None:
    assert sources.label_of(iso(label)[:_START_BYTES]) == ("iso9660", label)
    assert sources.label_of(fat(tmp_path, label, "-F", "16")[:_START_BYTES]) == ("vfat", label)
    assert sources.label_of(fat(tmp_path, label, "-F", "32")[:_START_BYTES]) == ("vfat", label)


@pytest.mark.parametrize("start", [b"", b"\0" * 512, b"\xff" * _START_BYTES])
def test_other_disks_have_no_label(start: bytes) -> None:
    assert sources.label_of(start) is None


def test_a_seed_disk_is_found_among_others_and_mounted_read_only(guest: ScratchGuest) -> None:
    for name, data in (("vda", b"\0" * 4096), ("vdb", iso("other")), ("vdc", iso("cidata"))):
        guest.folder(f"/sys/class/block/{name}")
        guest.write(f"/dev/{name}", data)
    seed = sources.find_nocloud(guest)
    assert seed is not None
    assert seed.detail == "DataSourceNoCloud [seed=/dev/vdc][dsmode=net]"
    assert [argv[0] for argv, _ in guest.told] == ["mount", "umount"]
    assert guest.told[0][0][:5] == ["mount", "-t", "iso9660", "-o", "ro"]


FILES = {"meta-data": b"instance-id: one\n", "user-data": b"", "a file whose name is rather long": b"x" * 5000}


@pytest.mark.parametrize("names", [{"joliet": 1}, {"joliet": 3}, {"joliet": 3, "rock_ridge": "1.09"}])
def test_files_are_read_by_their_joliet_names(names: dict[str, Any]) -> None:
    assert iso9660.files(io.BytesIO(iso("cidata", FILES, **names))) == FILES


def test_our_own_seeds_are_read() -> None:
    many = FILES | {f"file-{number:02}": bytes([number]) for number in range(14)}
    assert iso9660.files(io.BytesIO(build("cidata", many))) == many


def test_a_folder_of_several_sectors() -> None:
    many = {f"a file whose name is rather long {number}": bytes([number]) for number in range(60)}
    assert iso9660.files(io.BytesIO(iso("cidata", many, joliet=3))) == many


@pytest.mark.parametrize("names", [{}, {"rock_ridge": "1.09"}])
def test_volumes_without_joliet_names_are_left_to_the_kernel(names: dict[str, Any]) -> None:
    assert iso9660.files(io.BytesIO(iso("cidata", FILES, **names))) is None


@pytest.mark.parametrize("length", [0, 0x8000 + 100, 0x8000 + 2048, 0x8000 + 4096, 49 * 1024])
def test_volumes_that_end_early_are_left_to_the_kernel(length: int) -> None:
    assert iso9660.files(io.BytesIO(build("cidata", FILES)[:length])) is None


def test_volumes_with_folders_are_left_to_the_kernel() -> None:
    image, out = pycdlib.PyCdlib(), io.BytesIO()
    image.new(vol_ident="cidata", joliet=3)
    image.add_directory("/FOLDER", joliet_path="/folder")
    image.write_fp(out)
    assert iso9660.files(out) is None


def test_a_seed_is_read_without_mounting(guest: ScratchGuest) -> None:
    guest.folder("/sys/class/block/vda")
    files = {**FILES, "random-seed": b"r" * 64, "network-config": b"version: 2"}
    guest.write("/dev/vda", build("cidata", files))
    seed = sources.find_nocloud(guest)
    assert seed is not None
    assert (seed.metadata, seed.random, seed.network) == ({"instance-id": "one"}, b"r" * 64, {"version": 2})
    assert (seed.problems, guest.told) == ([], [])


def test_without_a_seed_disk_there_is_none(guest: ScratchGuest) -> None:
    guest.folder("/sys/class/block/sr0")  # a drive without a medium: its node cannot be read
    assert sources.find_nocloud(guest) is None


def test_a_disk_that_cannot_be_mounted_is_a_problem(guest: ScratchGuest) -> None:
    guest.folder("/sys/class/block/vda")
    guest.write("/dev/vda", iso("cidata"))
    guest.answers["mount"] = (1, b"mount: bad superblock\n")
    seed = sources.find_nocloud(guest)
    assert seed is not None
    assert seed.problems == ["/dev/vda cannot be mounted: mount: bad superblock"]


def test_missing_and_broken_files_are_problems() -> None:
    seed = sources.from_files({"meta-data": b"- x", "network-config": b"{"}, "/dev/vda")
    assert seed.problems[:2] == ["the disk has no file user-data", "meta-data must be a mapping, not list"]
    assert seed.problems[2].startswith("network-config is not valid YAML")
    assert (seed.metadata, seed.network) == ({}, None)


@pytest.mark.parametrize(
    ("cmdline", "uuid", "asked"),
    [("quiet gh.datasource=ec2", "", True), ("quiet", "EC2A0000-0000", True), ("quiet", "1ec20000", False)],
)
def test_the_metadata_service_is_asked_only_where_it_is_expected(
    guest: ScratchGuest, cmdline: str, uuid: str, asked: bool
) -> None:
    guest.write("/proc/cmdline", cmdline.encode())
    guest.write("/sys/class/dmi/id/product_uuid", uuid.encode())
    assert sources.wants_ec2(guest) is asked


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("version", ["2021-03-23", "2016-09-02", "2009-04-04", "latest"])
def test_the_metadata_service_with_and_without_tokens(tokens: bool, version: str) -> None:
    with serving(layout("#!/bin/sh\n", {"a": "key-a", "b": "key-b"}, version), tokens=tokens) as port:
        seed = ec2.read(ec2.Service("127.0.0.1", port))
    assert seed.problems == []
    assert seed.metadata["instance-id"] == "i-0123456789abcdef0"
    assert seed.metadata["local-hostname"] == "ip-10-0-2-15.example.org"
    assert seed.keys == ["key-a", "key-b"]
    assert seed.userdata == b"#!/bin/sh\n"


def test_an_instance_without_keys_and_user_data() -> None:
    documents = {"/2021-03-23/meta-data/instance-id": "i-1"}
    with serving(documents) as port:
        seed = ec2.read(ec2.Service("127.0.0.1", port))
    assert (seed.problems, seed.keys, seed.userdata) == ([], [], b"")


def test_a_service_that_does_not_answer_is_a_problem() -> None:
    with serving({}) as port:
        pass
    (problem,) = ec2.read(ec2.Service("127.0.0.1", port)).problems
    assert problem.startswith("the metadata service at 127.0.0.1 does not answer: ")
