"""The gate in a scratch folder: what it waits for, and in which order a fork becomes a machine of its own."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.patience import PATIENCE_S

from guesthouse.guestfiles.micro.firstboot import boot, entropy, gate, outcome, uevents
from guesthouse.guestfiles.micro.firstboot.gate import FIFO, MARKS, Gate
from guesthouse.guestfiles.micro.firstboot.outcome import Outcome
from guesthouse.guestfiles.micro.firstboot.sources import from_files
from guesthouse.guestfiles.micro.firstboot.uevents import Uevents

from .conftest import ScratchGuest
from .test_sources import iso

MAC = "52:54:00:00:00:0a"
AUTOPROBE = "/sys/bus/virtio/drivers_autoprobe"


class Template:
    """A scratch guest at its gate: the test is its kernel and its host."""

    def __init__(self, guest: ScratchGuest, nic_timeout_s: float = PATIENCE_S) -> None:
        self.guest = guest
        self._kernel, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.gate = Gate(guest, Uevents(self.ours), nic_timeout_s)
        for folder in ("/sys/class/block", "/sys/class/net", "/proc", "/dev/virtio-ports", outcome.RUN):
            guest.folder(folder)
        os.mkfifo(guest.path(outcome.PORT))
        self._port = io.FileIO(guest.path(outcome.PORT), "r+")

    def report(self) -> dict[str, object]:
        """The next line to the host."""
        line: dict[str, object] = json.loads(self._port.readline())
        return line

    def add(self, subsystem: str, action: str = "add") -> None:
        """Say that a device came."""
        event = f"{action}@/devices/x\0ACTION={action}\0DEVPATH=/devices/x\0SUBSYSTEM={subsystem}\0SEQNUM=9\0"
        self._kernel.send(event.encode())

    def plug_disk(self, name: str, serial: str, content: bytes = b"") -> None:
        # Who looks by himself may see the serial number before the event: the disk must be whole by then.
        self.guest.write(f"/dev/{name}", content)
        self.guest.write(f"/sys/class/block/{name}/serial", serial.encode())
        self.add("block")

    def plug_nic(self, name: str, mac: str) -> None:
        self.guest.folder(f"/sys/class/net/{name}/device")
        self.guest.write(f"/sys/class/net/{name}/type", b"1\n")
        self.guest.write(f"/sys/class/net/{name}/address", f"{mac}\n".encode())
        self.add("net")

    def close(self) -> None:
        self._port.close()
        for end in (self._kernel, self.ours):
            end.close()


@pytest.fixture
def template(guest: ScratchGuest) -> Iterator[Template]:
    made = Template(guest)
    yield made
    made.close()


@contextmanager
def waiting(template: Template) -> Iterator[threading.Thread]:
    """The template waits at its gate; with the block it must have passed it."""
    thread = threading.Thread(target=template.gate.wait, args=(Outcome(template.guest),))
    thread.start()
    assert template.report() == {"stage": "gate"}
    yield thread
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("family", "gated"), [("template\n", True), ("\n", False), ("templates\n", False), (None, False)]
)
def test_a_boot_has_a_gate_where_the_host_says_so(guest: ScratchGuest, family: str | None, gated: bool) -> None:
    if family is not None:
        guest.write("/sys/class/dmi/id/product_family", family.encode())
    assert (boot.gate_of(guest) is not None) is gated


def test_other_disks_do_not_open_the_gate(template: Template) -> None:
    """Each disk comes when the one before has been looked at: were one of the first taken, the last never came."""
    names = iter((("vda", "root"), ("vdb", ""), ("vdc", "seeds"), ("vdd", "seed")))

    class InTurn(Uevents):
        def wait(self, *subsystems: str, timeout_s: float | None = None) -> bool:
            template.plug_disk(*next(names))
            return super().wait(*subsystems, timeout_s=timeout_s)

    Gate(template.guest, InTurn(template.ours)).wait(Outcome(template.guest))
    assert list(names) == []


def test_only_added_devices_of_the_subsystem_are_waited_for(template: Template) -> None:
    events = Uevents(template.ours)
    for subsystem, action in (("net", "add"), ("block", "change"), ("blocks", "add"), ("block", "add")):
        template.add(subsystem, action)
    assert events.wait("block")
    assert not events.wait("block", timeout_s=0)


def test_events_of_before_are_passed_over(template: Template) -> None:
    events = Uevents(template.ours)
    template.add("block")
    events.forget()
    assert not events.wait("block", timeout_s=0)


def test_lost_events_are_a_reason_to_look(template: Template) -> None:
    events = Uevents(template.ours)
    template.ours.close()  # as an overflow, it makes reading fail
    assert events.wait("block")


def test_the_kernel_speaks_of_devices() -> None:
    """The real socket opens, and hears nothing where nothing came."""
    assert uevents.listen().wait("no-such-subsystem", timeout_s=0) is False


def test_a_seed_that_is_there_before_anybody_waits_is_seen(template: Template) -> None:
    template.guest.write("/sys/class/block/vda/serial", b"seed\n")
    with waiting(template):
        pass


def test_without_a_seed_the_nics_open_the_gate_when_all_that_was_plugged_is_in(template: Template) -> None:
    guest = template.guest
    guest.write("/sys/class/dmi/id/product_uuid", b"ec2c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e\n")
    guest.write("/sys/class/block/vda/serial", b"seed\n")  # nobody looks for one
    slots = {"2": "0000:01:00", "3": "0000:02:00"}
    for slot, address in slots.items():
        guest.write(f"/sys/bus/pci/slots/{slot}/address", address.encode())
        guest.write(f"/sys/bus/pci/slots/{slot}/adapter", b"0")
    with waiting(template) as thread:
        for slot in slots:
            guest.write(f"/sys/bus/pci/slots/{slot}/adapter", b"1")
        for number, address in enumerate(slots.values()):
            assert thread.is_alive()
            guest.folder(f"/sys/bus/pci/devices/{address}.0/virtio{number}")
            guest.write(f"/sys/bus/pci/devices/{address}.0/vendor", b"0x1af4\n")
            template.add("virtio")
    probed = [each[2] for each in guest.kernel if each[:2] == ("told", "/sys/bus/virtio/drivers_probe")]
    assert probed == ["virtio0", "virtio1"]


def test_randomness_comes_before_the_clock_and_others_run_first(template: Template) -> None:
    old, new = b"o" * entropy.FETCHED_BEFORE_BYTES, b"n" * 64
    template.guest.write("/dev/hwrng", old + new)
    template.guest.write("/sys/class/rtc/rtc0/since_epoch", b"1000\n")
    with waiting(template):
        before = [("stand back", True), ("stand back", False), ("told", AUTOPROBE, "0")]
        assert template.guest.kernel == before
        template.plug_disk("vda", "seed")
    after = [("told", AUTOPROBE, "1"), ("entropy", old + new, 64), ("clock", 1000.5)]
    assert template.guest.kernel == before + after


@pytest.mark.parametrize(("free_mib", "taken_mib"), [(33, [4] * 6 + [1]), (8, []), (300, [])])
def test_free_memory_is_filled_with_zeros_as_far_as_it_may_be(
    template: Template, monkeypatch: pytest.MonkeyPatch, free_mib: int, taken_mib: list[int]
) -> None:
    left = [free_mib]
    taken: list[int] = []

    class Zeros(bytearray):
        def __mul__(self, count: Any) -> bytearray:
            taken.append(count >> 20)
            left[0] -= count >> 20
            return self

    monkeypatch.setattr(gate, "bytearray", Zeros, raising=False)
    monkeypatch.setattr(template.gate, "_free_kib", lambda: left[0] << 10)
    with waiting(template):
        template.plug_disk("vda", "seed")
    assert taken == taken_mib


def test_what_the_kernel_may_have_fetched_before_is_not_counted(guest: ScratchGuest) -> None:
    guest.write("/dev/hwrng", b"o" * 100)
    entropy.reseed(guest, entropy.FETCHED_BEFORE_BYTES)
    assert guest.kernel == [("entropy", b"o" * 100, 0)]


def test_a_machine_without_a_random_device_goes_on(guest: ScratchGuest) -> None:
    entropy.reseed(guest)
    assert guest.kernel == []


def test_pythons_own_random_numbers_begin_anew(template: Template) -> None:
    import random

    random.seed(1)
    state = random.getstate()
    with waiting(template):
        template.plug_disk("vda", "seed")
    assert random.getstate() != state


# --- behind the gate ------------------------------------------------------------------------------------------


def test_the_seeds_randomness_is_mixed_in(template: Template) -> None:
    template.gate.take(from_files({"random-seed": b"r" * 64}, "/dev/vda"))
    assert template.guest.kernel == [("entropy", b"r" * 64, 64)]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (
            "network-config",
            {"version": 2, "ethernets": {"lan": {"match": {"macaddress": MAC.upper()}, "dhcp4": True}}},
        ),
        (
            "network-config",
            {"network": {"version": 1, "config": [{"type": "physical", "name": "lan", "mac_address": MAC}]}},
        ),
        ("meta-data", {"instance-id": "one", "nics": [MAC.upper()]}),
    ],
)
def test_nics_that_the_seed_names_are_waited_for(template: Template, file: str, content: dict[str, object]) -> None:
    seed = from_files({file: json.dumps(content).encode()}, "/dev/vda")
    template.plug_nic("eth0", "52:54:00:00:00:01")
    found: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: found.append(template.gate.take(seed)))
    thread.start()
    template.plug_nic("eth1", MAC)
    thread.join(PATIENCE_S)
    assert found == [{"eth0": "52:54:00:00:00:01", "eth1": MAC}]
    assert sorted(mark.name for mark in Path(template.guest.path(MARKS)).iterdir()) == ["eth0", "eth1"]


def test_a_nic_that_never_comes_is_not_waited_for_for_ever(guest: ScratchGuest) -> None:
    template = Template(guest, nic_timeout_s=0.01)
    config = {"version": 2, "ethernets": {"lan": {"match": {"macaddress": MAC}}}}
    assert template.gate.take(from_files({"network-config": json.dumps(config).encode()}, "/dev/vda")) == {}
    template.close()


@pytest.mark.parametrize("config", ["", "{version: 2}", "{version: 2, ethernets: [x]}", "{version: 1, config: 3}", "3"])
def test_without_named_nics_nothing_is_waited_for(template: Template, config: str) -> None:
    assert template.gate.take(from_files({"network-config": config.encode()}, "/dev/vda")) == {}
    assert template.gate.take(from_files({"meta-data": b"{nics: 3}"}, "/dev/vda")) == {}
    assert template.gate.take(None) == {}


def test_who_waits_at_the_fifo_is_let_go_at_the_end(template: Template) -> None:
    with waiting(template):
        path = template.guest.path(FIFO)
        reader = subprocess.Popen(["sh", "-c", 'read -r _ <"$0"', path])
        template.plug_disk("vda", "seed")
    assert reader.poll() is None
    template.gate.leave()
    reader.wait(PATIENCE_S)
    assert not template.guest.exists(FIFO)


def test_a_template_becomes_a_machine(template: Template) -> None:
    guest = template.guest
    lock = os.open(guest.path(boot.LOCK), os.O_WRONLY | os.O_CREAT)
    thread = threading.Thread(target=boot.configure, args=(guest, lock, template.gate))
    thread.start()
    assert template.report() == {"stage": "gate"}
    assert not guest.exists(outcome.STATUS)
    assert not guest.exists("/etc/hostname")
    guest.answers["mount"] = (1, b"not in a test")
    template.plug_disk("vda", "seed", iso("cidata"))
    assert template.report() == {"stage": "reachable"}
    configured = template.report()
    thread.join(PATIENCE_S)
    assert (configured["stage"], configured["source"]) == ("configured", "nocloud")
    assert not guest.exists(FIFO)


def test_a_gate_that_fails_is_an_outcome(template: Template) -> None:
    template.guest.write("/run/guest", b"")  # where a folder should be
    lock = os.open(template.guest.path(boot.LOCK), os.O_WRONLY | os.O_CREAT)
    boot.configure(template.guest, lock, template.gate)
    configured = template.report()
    assert (configured["stage"], configured["ok"]) == ("configured", False)


_IMPORTS = """
import sys
from guesthouse.guestfiles.micro.firstboot import boot, gate, netplan, userdata
for name in gate._IMPORTED_LATE:
    __import__(name)
before = set(sys.modules)
multipart = b"Content-Type: multipart/mixed; boundary=x\\n\\n--x\\n\\n#!/bin/sh\\n--x--\\n"
for data in (b"#cloud-config\\na: [b]\\n", multipart):
    assert not userdata.decode(data).problems
interface = {"match": {"macaddress": "52:54:00:00:00:01"}, "addresses": ["10.0.2.15/24"], "gateway4": "10.0.2.2"}
assert not netplan.plan({"version": 2, "ethernets": {"a": interface}}, {"eth0": "52:54:00:00:00:01"})[1]
print(sorted(set(sys.modules) - before))
"""


def test_behind_the_gate_nothing_is_left_to_import() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
