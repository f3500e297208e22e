"""The micro image for tests that start machines: built once a session from packages that pytest's cache keeps."""

from __future__ import annotations

import asyncio

import pytest
from tests.caches import alone

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.micro import build_micro


def _say_nothing(phase: str, percent: float | None = None) -> None:
    pass


@pytest.fixture(scope="session")
def micro_image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> BuiltImage:
    """The micro image, in a folder of this session."""
    packages = pytestconfig.cache.mkdir("packages")
    with alone(packages):
        return asyncio.run(build_micro(tmp_path_factory.mktemp("images") / "micro", packages, _say_nothing))
