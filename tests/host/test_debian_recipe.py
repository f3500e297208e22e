"""The recipe of the Debian image, without building it: what lies over the packages, and how far mmdebstrap is."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from tests.golden.golden import Golden

from guesthouse.formats import apt, cpio
from guesthouse.host.images import bootdisk, debian
from guesthouse.host.images.debian_tree import Meter
from guesthouse.host.images.debian_tunings import STOCK, TUNINGS, Tuning

_SOURCES = (apt.Source("http://mirror.example/debian", "bookworm", ("main",)),)


def _listing(entries: list[cpio.Entry]) -> str:
    lines = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        target = f" -> {entry.data.decode()}" if stat.S_ISLNK(entry.mode) else ""
        lines.append(f"{stat.filemode(entry.mode)} {entry.name}{target}\n")
    return "".join(lines)


@pytest.mark.parametrize(("name", "tunings"), [("stock", STOCK), ("tuned", TUNINGS)])
def test_what_lies_over_the_packages(golden: Golden, name: str, tunings: tuple[Tuning, ...]) -> None:
    golden(f"debian/{name}.files", _listing(debian.overlay(_SOURCES, tunings)))
    golden(f"debian/{name}.cmdline", " ".join(debian.command_line(tunings)) + "\n")


def test_a_built_image_tells_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("12.11\n")
    private = apt.Source("file:/srv/debian", "bookworm", ("main",))
    assert debian.described(tmp_path, sources=_SOURCES).note == ""
    assert "has no package sources" in debian.described(tmp_path, sources=(private,)).note


def test_every_tuning_does_something_and_says_why() -> None:
    for number, tuning in enumerate(TUNINGS):
        without = TUNINGS[:number] + TUNINGS[number + 1 :]
        assert debian.digest(_SOURCES, without) != debian.digest(_SOURCES), tuning.name
        assert tuning.why, tuning.name


def test_programs_of_the_guest_are_sound() -> None:
    for entry in debian.overlay(_SOURCES, TUNINGS):
        first = entry.data.partition(b"\n")[0]
        if first.startswith(b"#!/usr/bin/python3"):
            compile(entry.data, entry.name, "exec")
        elif first.startswith((b"#!/usr/bin/perl", b"#!/bin/sh")):
            flag = "-c" if b"perl" in first else "-n"
            subprocess.run([first[2:].decode(), flag], input=entry.data, check=True, capture_output=True)


def test_the_first_program_is_sound() -> None:
    script = Path(debian.__file__).parents[2] / "guestfiles/debian/initrd/init"
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_partitions_fill_the_disk_and_the_root_grows() -> None:
    places = bootdisk.layout(2048)
    root, bios, efi = bootdisk.partitions(places, debian.NAMESPACE)
    assert (root.number, bios.number, efi.number) == (1, 14, 15)
    assert bios.last_sector + 1 == efi.first_sector
    assert efi.last_sector + 1 == root.first_sector
    assert root.last_sector + 1 == 2047 * 2048


def test_progress_never_goes_back_and_ends_at_100() -> None:
    said = [
        "I: automatically chosen mode: root",
        "I: running apt-get update...",
        "Get:1 http://mirror.example/debian bookworm InRelease [151 kB]",
        "I: downloading packages with apt...",
        "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
        *("Get:1 a", "Get:2 b"),
        "I: extracting archives...",
        "I: installing essential packages...",
        *("Unpacking a (1) ...", "Unpacking b (1) ...", "Setting up a (1) ...", "Setting up b (1) ..."),
        "I: installing remaining packages inside the chroot...",
        "0 upgraded, 4 newly installed, 0 to remove and 0 not upgraded.",
        *("Get:1 c", "Unpacking c (1) ...", "Setting up c (1) ...", "Created symlink /a -> /b."),
        "I: creating tarball...",
        "I: success in 70.1 seconds",
    ]
    meter = Meter()
    heard = [percent for line in said if (percent := meter.read(line)) is not None]
    assert heard == sorted(heard)
    assert heard[0] == 0
    assert heard[-1] == 100
    assert [percent for percent in heard if 16 < percent < 30] == [19.5, 23, 26.5]
