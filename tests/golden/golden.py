"""Golden files: what is rendered is compared with a file that a person has read and approved.

``pytest --refresh-golden`` writes them anew; the change is then looked at in the diff of the commit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


class Golden:
    """Compare a text with the golden file of that name under tests/golden, or write it."""

    def __init__(self, refresh: bool) -> None:
        self._refresh = refresh

    def __call__(self, name: str, text: str) -> None:
        path = FOLDER / name
        if self._refresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"there is no {name} yet: pytest --refresh-golden writes it"
        assert text == path.read_text(), f"{name} differs; if that is meant: pytest --refresh-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh-golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(bool(request.config.getoption("--refresh-golden")))
