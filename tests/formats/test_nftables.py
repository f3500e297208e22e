"""Rule sets: a golden file, and their names. What they do is proven in tests/host/test_fence.py."""

from __future__ import annotations

from pathlib import Path

from tests.golden.golden import Golden

from guesthouse.formats.nftables import fence, table_of, without

MACHINES = range(0x7100_0000, 0x7800_0000)


def test_the_fence(golden: Golden) -> None:
    golden("nftables/fence.nft", fence(table_of(Path("/var/lib/guesthouse")), MACHINES))


def test_it_begins_by_taking_itself_away() -> None:
    table = table_of(Path("/var/lib/guesthouse"))
    assert fence(table, MACHINES).startswith(without(table))


def test_houses_have_tables_of_their_own() -> None:
    folders = (Path("/srv/a"), Path("/srv/b"), Path("/srv/ä b"), Path("/srv/\udcff"))
    assert len({table_of(folder) for folder in folders}) == len(folders)
