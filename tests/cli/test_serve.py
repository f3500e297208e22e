"""`guest serve --detach`: a real daemon in the background, and its log."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import MAIN
from tests.host.boxes import a_house
from tests.patience import PATIENCE_S

from guesthouse.model.house import House


@pytest.fixture
def empty_house() -> Iterator[House]:
    with a_house() as house:
        yield house


def serve(house: House) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GUESTHOUSE_HOME": str(house.home)}
    return subprocess.run(
        (*MAIN, "serve", "--detach", "--no-networks"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def stop(house: House) -> None:
    """End the daemon of a house, and wait for its end."""
    pid = int(house.lock.read_text())
    ended = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(ended, signal.SIGTERM)
        # Not our child: its end is the moment at which its descriptor becomes readable.
        assert select.select([ended], [], [], PATIENCE_S)[0]
    finally:
        os.close(ended)


def fill(log: Path, size_mib: int) -> None:
    log.write_bytes(b"a word of an earlier daemon\n" * (size_mib * (1 << 20) // 28))


def test_a_log_grown_long_keeps_its_end(empty_house: House) -> None:
    fill(empty_house.daemon_log, 9)
    assert serve(empty_house).returncode == 0
    stop(empty_house)
    said = empty_house.daemon_log.read_text()
    assert (1 << 20) < len(said) < (1 << 20) + 4096
    assert "a word of an earlier daemon" in said
    assert "is open at" in said
    assert said.endswith("the house is closed; machines run on\n")


def test_a_log_that_is_not_long_stays_as_it_is(empty_house: House) -> None:
    fill(empty_house.daemon_log, 7)
    before = empty_house.daemon_log.read_bytes()
    assert serve(empty_house).returncode == 0
    stop(empty_house)
    assert empty_house.daemon_log.read_bytes().startswith(before)


def test_a_second_daemon_is_refused_in_its_own_words(empty_house: House) -> None:
    assert serve(empty_house).returncode == 0
    try:
        second = serve(empty_house)
        assert second.returncode == 4
        assert "has a daemon already" in second.stderr
    finally:
        stop(empty_house)
