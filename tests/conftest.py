"""Fixtures that tests of every floor may use."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.golden.golden", "tests.diskimages", "tests.postgres", "tests.micro", "tests.debian"]

# Examples are the same in every run and none has a time limit: a slow box or an unlucky draw fails nobody's change.
# `pytest --hypothesis-profile default` searches for new ones.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


# What takes longest begins first, so that no worker is alone with it at the end.
LONG = (
    "test_deaths.py",
    "test_debian_fork.py",
    "test_metadata.py",
    "test_histories.py",
    "test_machine_forks.py",
    "test_settling.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_configure(config: pytest.Config) -> None:
    """Let programs that tests start be interrupted, whoever started the tests: a shell's background job ignores
    SIGINT, and its children inherit that (POSIX.1, 2.12)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
