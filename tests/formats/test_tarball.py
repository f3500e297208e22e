"""Tar archives, read back by tar itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guesthouse.formats import cpio, tarball

_ENTRIES = (
    cpio.folder("boot/grub"),
    cpio.file("etc/fstab", b"nothing\n"),
    cpio.file("usr/lib/program", b"#!/bin/sh\n", 0o755),
    cpio.link("etc/systemd/system/a.mount", "/dev/null"),
)


def test_tar_reads_it() -> None:
    said = subprocess.run(
        ["tar", "--list", "--verbose", "--numeric-owner", "--full-time", "--utc"],
        input=tarball.archive(_ENTRIES),
        capture_output=True,
        check=True,
    )
    assert [line.split() for line in said.stdout.decode().splitlines()] == [
        "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 boot/grub/".split(),
        "-rw-r--r-- 0/0 8 1970-01-01 00:00:00 etc/fstab".split(),
        "-rwxr-xr-x 0/0 10 1970-01-01 00:00:00 usr/lib/program".split(),
        "lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 etc/systemd/system/a.mount -> /dev/null".split(),
    ]


def test_content_and_links_come_out(tmp_path: Path) -> None:
    subprocess.run(["tar", "--extract", "-C", str(tmp_path)], input=tarball.archive(_ENTRIES), check=True)
    assert (tmp_path / "etc/fstab").read_text() == "nothing\n"
    assert (tmp_path / "etc/systemd/system/a.mount").readlink() == Path("/dev/null")
