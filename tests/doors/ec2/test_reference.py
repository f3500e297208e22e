"""docs/ec2.md, and the filters that it tells of."""

from __future__ import annotations

from importlib import resources

import pytest
from tests.golden.golden import Golden

from guesthouse.doors.ec2.reference import reference
from guesthouse.doors.ec2.rows import Row
from guesthouse.doors.ec2.table import GROUPS, services

LISTINGS = [row for rows in GROUPS.values() for row in rows if row.listing is not None]


def test_the_page_tells_what_the_table_says(golden: Golden) -> None:
    head = (resources.files("guesthouse.doors.ec2") / "head.md").read_text()
    golden("../../docs/ec2.md", reference(head, GROUPS, services()["ec2"]))


@pytest.mark.parametrize("row", LISTINGS, ids=lambda row: row.action)
def test_every_documented_filter_looks_somewhere(row: Row) -> None:
    service = services()["ec2"]
    ways = service.ways(row.action)
    missing = [name for name in service.shapes.operations[row.action].filters if name not in ways]
    assert missing == []
