"""The micro image for tests that start machines: built once a session from packages that pytest's cache keeps."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from tests.caches import alone

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.micro import build_micro


def _say_nothing(phase: str, percent: float | None = None) -> None:
    pass


@pytest.fixture(scope="session")
def micro_image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> BuiltImage:
    """The micro image, in a folder of this session; all workers of a run have the same one."""
    packages = pytestconfig.cache.mkdir("packages")
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with alone(packages):
        return _built(run / "images", packages)


def _built(images: Path, packages: Path) -> BuiltImage:
    told = images.with_suffix(".json")
    if not told.exists():
        image = asyncio.run(build_micro(images / "micro", packages, _say_nothing))
        told.write_bytes(msgspec.json.encode(image, enc_hook=str))
    return msgspec.json.decode(told.read_bytes(), type=BuiltImage, dec_hook=lambda kind, value: kind(value))
