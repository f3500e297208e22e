"""What the host and `cloud-init status` are told."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading

import pytest
from tests.patience import PATIENCE_S

from guesthouse.guestfiles.micro.firstboot import boot, outcome, status

from .conftest import ScratchGuest


def booted(guest: ScratchGuest) -> list[dict[str, object]]:
    """A whole boot of a guest without disks and NICs; returns what went to the report port."""
    for folder in ("/sys/class/block", "/sys/class/net", "/proc"):
        guest.folder(folder)
    guest.write(outcome.PORT, b"")
    guest.folder(outcome.RUN)
    lock = os.open(guest.path(boot.LOCK), os.O_WRONLY | os.O_CREAT)
    boot.configure(guest, lock)
    return [json.loads(line) for line in guest.read(outcome.PORT).splitlines()]


def test_a_boot_without_a_source(guest: ScratchGuest) -> None:
    # A file, unlike a port, begins anew at each opening: what is left is the last line.
    reported = booted(guest)[-1]
    assert reported == {
        "stage": "configured",
        "ok": True,
        "source": "none",
        "failures": [],
        "ignored": [],
        "log": "",
        "host_key": "",
    }
    assert json.loads(guest.read("/run/cloud-init/result.json")) == {
        "v1": {"datasource": "DataSourceNone", "errors": []}
    }
    stages = json.loads(guest.read("/run/cloud-init/status.json"))["v1"]
    assert stages["stage"] is None
    for stage in ("init-local", "init", "modules-config", "modules-final"):
        assert stages[stage]["start"] <= stages[stage]["finished"]
        assert stages[stage]["errors"] == []
    assert status.main(guest, ["status", "--wait", "--long"]) == (0, "status: done\ndetail:\nDataSourceNone")


def test_an_ssh_server_that_does_not_start_is_a_failure(guest: ScratchGuest) -> None:
    guest.answers["dropbear"] = (1, b"Failed listening on '22'\n")
    reported = booted(guest)[-1]
    assert reported["ok"] is False
    assert reported["failures"] == [
        {"module": "ssh", "message": "the SSH server did not start: Failed listening on '22'"}
    ]
    assert "Failed listening" in str(reported["log"])
    errors = ["('ssh', RuntimeError(\"the SSH server did not start: Failed listening on '22'\"))"]
    assert json.loads(guest.read("/run/cloud-init/result.json"))["v1"]["errors"] == errors
    assert json.loads(guest.read("/run/cloud-init/status.json"))["v1"]["init"]["errors"] == errors
    exit_status, said = status.main(guest, ["status", "--format", "json"])
    assert (exit_status, json.loads(said)["status"], json.loads(said)["errors"]) == (1, "error", errors)


def test_a_fault_of_ours_is_reported_and_ends_the_boot(guest: ScratchGuest) -> None:
    guest.folder("/run/cloud-init")
    lock = os.open(guest.path(boot.LOCK), os.O_WRONLY | os.O_CREAT)
    boot.configure(guest, lock)  # there is no /sys
    assert status.main(guest, ["status"]) == (1, "status: error")
    assert "FileNotFoundError" in guest.read("/run/cloud-init/result.json")


def test_without_a_report_port_nothing_is_written(guest: ScratchGuest) -> None:
    outcome.Outcome(guest).reachable()
    assert not guest.exists(outcome.PORT)


def test_a_port_that_nobody_reads_holds_nothing_up(guest: ScratchGuest) -> None:
    """As one does whose host is not there: it takes nothing now, and everything later, in order."""
    guest.folder("/dev/virtio-ports")
    os.mkfifo(guest.path(outcome.PORT))
    reader = os.open(guest.path(outcome.PORT), os.O_RDWR)
    os.set_blocking(reader, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(reader, bytes(4096))
    told = outcome.Outcome(guest)
    told.reachable()
    told.configured()
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as port:
        assert port.read(filled) == bytes(filled)
        assert [json.loads(port.readline())["stage"] for _ in range(2)] == ["reachable", "configured"]


def test_status_waits_for_the_end_of_the_boot(guest: ScratchGuest) -> None:
    assert status.main(guest, ["status"]) == (0, "status: not run")
    guest.folder(outcome.RUN)
    lock = os.open(guest.path(boot.LOCK), os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    running = outcome.Outcome(guest)
    running.enter("init", 1.0)
    assert status.main(guest, ["status"]) == (0, "status: running")
    answers: list[tuple[int, str]] = []
    waiting = threading.Thread(target=lambda: answers.append(status.main(guest, ["status", "--wait"])))
    waiting.start()
    running.configured()
    os.close(lock)
    waiting.join(PATIENCE_S)
    assert answers == [(0, "status: done")]


@pytest.mark.parametrize("arguments", [[], ["init"], ["status", "--all"]])
def test_other_commands_are_refused(guest: ScratchGuest, arguments: list[str]) -> None:
    assert status.main(guest, arguments) == (2, status.USAGE)
