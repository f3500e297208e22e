"""CD-ROM images, read back by another implementation."""

from __future__ import annotations

import io

import pycdlib
import pytest

from guesthouse.formats.iso9660 import SECTOR_BYTES, build
from guesthouse.model.errors import Invalid

FILES = {"user-data": b"#cloud-config\n", "meta-data": b"x" * 5000, "vendor-data": b"", "network-config": b"n" * 2048}


def read_back(image: bytes) -> tuple[str, dict[str, bytes]]:
    """Label and files, by pycdlib."""
    disc = pycdlib.PyCdlib()
    disc.open_fp(io.BytesIO(image))
    files = {}
    for child in disc.list_children(joliet_path="/"):
        if child.is_file():
            name, content = child.file_identifier().decode("utf-16-be"), io.BytesIO()
            disc.get_file_from_iso_fp(content, joliet_path=f"/{name}")
            files[name] = content.getvalue()
    label = disc.pvd.volume_identifier.decode().strip()
    disc.close()
    return label, files


def test_another_reader_finds_every_file() -> None:
    assert read_back(build("cidata", FILES)) == ("cidata", FILES)


def test_an_image_without_files_is_an_image() -> None:
    assert read_back(build("empty", {})) == ("empty", {})


def test_the_same_content_gives_the_same_bytes() -> None:
    assert build("cidata", FILES) == build("cidata", dict(reversed(FILES.items())))


def test_it_is_made_of_whole_sectors() -> None:
    assert len(build("cidata", FILES)) % SECTOR_BYTES == 0


@pytest.mark.parametrize("label", ["a label of too many letters", "é"])
def test_a_label_that_does_not_fit_is_refused(label: str) -> None:
    with pytest.raises(Invalid, match="cannot label") as caught:
        build(label, {})
    assert caught.value.value == label


@pytest.mark.parametrize("name", ["", "a/b", "a;1", "é", "n" * 65])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a file"):
        build("cidata", {name: b""})


def test_more_files_than_the_folder_holds_are_refused() -> None:
    with pytest.raises(Invalid, match="too many files"):
        build("cidata", {f"file-{number:02}": b"" for number in range(60)})
