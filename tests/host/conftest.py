"""Fixtures for tests of this floor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.host.boxes import a_house
from tests.host.shelves import Shelf, stock

from guesthouse.host import identity
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House


@pytest.fixture
def house() -> Iterator[House]:
    """A house of a test's own, open, with nothing in it."""
    with a_house() as house:
        identity.open_house(house)
        yield house


@pytest.fixture(scope="session")
def shelf(micro_image: BuiltImage) -> Iterator[Shelf]:
    """A house with a template of the micro image; whoever uses it opens a host over it, and leaves no machine."""
    with a_house() as house:
        yield asyncio.run(stock(house, micro_image))
