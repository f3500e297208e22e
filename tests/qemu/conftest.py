"""A folder short enough for unix sockets, and the micro image to start real guests from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.micro import build_micro


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder; pytest's own have names too long for a socket's address (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    folder = tmp_path_factory.mktemp("micro")
    return asyncio.run(build_micro(folder / "image", folder / "cache", lambda phase, percent=None: None))
