"""Fixtures that tests of every floor may use."""

from __future__ import annotations

pytest_plugins = ["tests.golden.golden", "tests.diskimages", "tests.postgres", "tests.micro", "tests.debian"]
