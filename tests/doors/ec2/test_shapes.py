"""The shapes beside the door are those of the services' own descriptions."""

from __future__ import annotations

import pytest
from tests.doors.ec2.descriptions import describe
from tests.golden.golden import Golden

from guesthouse.doors.ec2.table import GROUPS, STS
from guesthouse.formats.awsquery import shapes

FOLDER = "../../src/guesthouse/doors/ec2/shapes"
SERVICES = {
    "ec2": ("2016-11-15", [row for rows in GROUPS.values() for row in rows]),
    "sts": ("2011-06-15", STS),
}


@pytest.mark.parametrize("service", SERVICES)
def test_they_are_what_the_rows_need(service: str, golden: Golden) -> None:
    version, rows = SERVICES[service]
    described = describe(service, version, [row.action for row in rows])
    text = shapes.write(described)
    assert shapes.read(text) == described
    golden(f"{FOLDER}/{service}.json", text.decode())
