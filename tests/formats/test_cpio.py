"""Archives are read back by an independent reader: GNU cpio, or what the format's description says."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.formats import cpio
from guesthouse.model.errors import Invalid

_HEADER = 110


def unpacked(archive: bytes) -> list[cpio.Entry]:
    """Read an archive as buffer-format.rst describes it."""
    found, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + _HEADER : at + _HEADER + name_size - 1].decode()
        at += -(-(_HEADER + name_size) // 4) * 4
        data = archive[at : at + size]
        at += -(-size // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return found
        assert fields[0] == len(found) + 1  # the inode number
        assert fields[2:4] == [0, 0] and fields[5] == 0  # root's, without a time
        found.append(cpio.Entry(name, fields[1], data, (fields[9], fields[10])))


def test_every_kind_of_entry_comes_back() -> None:
    entries = [
        cpio.folder("root", 0o700),
        cpio.file("init", b"#!/bin/sh\n", 0o755),
        cpio.link("bin", "usr/bin"),
        cpio.character_device("console", 5, 1),
    ]
    assert sorted(unpacked(cpio.archive(entries))) == sorted(entries)


def test_missing_parents_are_made_and_come_first() -> None:
    names = [(entry.name, stat.S_ISDIR(entry.mode)) for entry in unpacked(cpio.archive([cpio.file("a/b/c", b"x")]))]
    assert names == [("a", True), ("a/b", True), ("a/b/c", False)]


def test_a_parent_that_is_given_keeps_its_mode() -> None:
    first = unpacked(cpio.archive([cpio.file("root/key", b"x"), cpio.folder("root", 0o700)]))[0]
    assert first == cpio.folder("root", 0o700)


@pytest.mark.parametrize("name", ["", "/etc", "a//b", "../etc/passwd", "a/./b", "a\0b", "TRAILER!!!", "a/"])
def test_names_that_are_not_plain_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not a plain name"):
        cpio.archive([cpio.file(name, b"")])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="'a' is twice"):
        cpio.archive([cpio.file("a", b"1"), cpio.file("a", b"2")])


plain_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
).filter(lambda name: name not in (".", "..", "TRAILER!!!"))


@given(st.dictionaries(plain_names, st.binary(max_size=40), max_size=6), st.randoms())
def test_the_order_of_entries_does_not_change_the_bytes(files: dict[str, bytes], random: object) -> None:
    entries = [cpio.file(name, data) for name, data in files.items()]
    archive = cpio.archive(entries)
    random.shuffle(entries)  # type: ignore[attr-defined]
    assert cpio.archive(entries) == archive
    assert {entry.name: entry.data for entry in unpacked(archive)} == files
