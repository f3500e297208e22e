"""A folder short enough for unix sockets, and the micro image to start real guests from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.host.images.built import BuiltImage


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder; pytest's own have names too long for a socket's address (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        yield Path(name)


@pytest.fixture
def micro(micro_image: BuiltImage) -> BuiltImage:
    return micro_image
