"""Access lists of files, as this kernel takes and gives them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guesthouse.formats import acl

ONE, TWO = 0x7000_0001, 0x7000_0002


def let_in(folder: Path, group: int) -> bytes:
    """What the kernel has after a group was let in."""
    listed = os.getxattr(folder, acl.ATTRIBUTE) if acl.ATTRIBUTE in os.listxattr(folder) else b""
    os.setxattr(folder, acl.ATTRIBUTE, acl.with_group(listed, folder.stat().st_mode, group))
    return os.getxattr(folder, acl.ATTRIBUTE)


def groups(listed: bytes) -> set[int]:
    return {each.id for each in acl.read(listed) if each.tag == 8 and each.may == 5}


def test_groups_are_let_in_one_by_one_and_each_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    first = let_in(tmp_path, ONE)
    assert groups(first) == {ONE}
    assert let_in(tmp_path, ONE) == first == acl.write(acl.read(first))
    assert groups(let_in(tmp_path, TWO)) == {ONE, TWO}
    tmp_path.chmod(0o750)
    assert groups(os.getxattr(tmp_path, acl.ATTRIBUTE)) == {ONE, TWO}, "machines of its own project start again"
    assert tmp_path.stat().st_mode & 0o777 == 0o750, "nobody else is let in"


@pytest.mark.parametrize("listed", [b"\2", b"\1\0\0\0", b"\2\0\0\0\1"])
def test_what_is_no_list_is_refused(listed: bytes) -> None:
    with pytest.raises(ValueError, match="access list"):
        acl.read(listed)
