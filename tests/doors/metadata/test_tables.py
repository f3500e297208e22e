"""The tables themselves, and the page that is made of them."""

from __future__ import annotations

import re

import pytest
from tests.golden.golden import Golden

from guesthouse.doors.metadata import azure_table, ec2_table, gce_table
from guesthouse.doors.metadata.reference import reference
from guesthouse.doors.metadata.tree import Table

each_table = pytest.mark.parametrize(
    ("table", "versions"),
    [(ec2_table.TABLE, ec2_table.VERSIONS), (gce_table.TABLE, [""]), (azure_table.TABLE, azure_table.VERSIONS)],
    ids=["ec2", "gce", "azure"],
)


@each_table
def test_no_path_is_there_twice_nor_is_one_a_folder_of_another(table: Table, versions: list[str]) -> None:
    paths = [row.path for row in table.rows]
    assert len(paths) == len(set(paths))
    assert not [path for path in paths for other in paths if other.startswith(f"{path}/")]


@each_table
def test_every_part_in_braces_is_in_the_table_and_used(table: Table, versions: list[str]) -> None:
    assert {part for row in table.rows for part in re.findall(r"{[^}]+}", row.path)} == set(table.each)


@each_table
def test_rows_begin_with_a_version_that_there_is(table: Table, versions: list[str]) -> None:
    assert {row.since for row in table.rows} <= set(versions)


def test_the_page_is_written_from_the_tables(golden: Golden) -> None:
    golden("../../docs/metadata.md", reference())
