"""Fixtures that tests of every floor may use."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ["tests.golden.golden", "tests.diskimages", "tests.postgres", "tests.micro", "tests.debian"]


def pytest_configure(config: pytest.Config) -> None:
    """Let programs that tests start be interrupted, whoever started the tests: a shell's background job ignores
    SIGINT, and its children inherit that (POSIX.1, 2.12)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
