"""Forks of the micro image: one boot is frozen at its gate, and two machines go on from there.

QEMU is driven by hand here, by the sequence that the host is to use: memory in a file, device state beside it
(`x-ignore-shared`), a fork's memory a private copy, its seed and its NIC plugged before its vCPUs run.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.bare_qemu import Machine, SecureShell, running, write_seed

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm

_MEMORY_MIB = 128
_ON = {"capabilities": [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]}
_PORTS = [part for n in range(3) for part in ("-device", f"pcie-root-port,id=port{n},chassis={n + 1},addr={n + 8}")]
# Numbers that no two machines may share: of the kernel by each way to them, of a program, of the host's device.
_RANDOM = (
    "od -An -v -tx1 -N64 /dev/urandom",
    "od -An -v -tx1 -N64 /dev/hwrng",
    "cat /proc/sys/kernel/random/uuid",
    "mktemp -u",
    "python3 -I -S -c 'import os; print(os.urandom(16), hash(\"x\"))'",
)


@dataclass
class Template:
    """What is left of a frozen machine; `frozen_at_s` by the clock."""

    image: BuiltImage
    folder: Path
    frozen_at_s: float


@dataclass
class Fork:
    """A fork that is configured: what it reported, and what random numbers it had in its first moments."""

    machine: Machine
    shell: SecureShell
    reports: list[dict[str, object]]

    def ask(self, command: str) -> str:
        return self.shell.run(self.machine, command, check_host_key=False)


def _options(folder: Path, share: str, family: str) -> list[str]:
    memory = f"memory-backend-file,id=ram,size={_MEMORY_MIB}M,mem-path={folder}/memory,share={share}"
    return [
        *("-machine", "q35,memory-backend=ram", "-object", memory, *_PORTS, "-device", "vmgenid,guid=auto"),
        *("-smbios", f"type=1,manufacturer=Guesthouse,product=machine,family={family}"),
    ]


def _wait_until_migrated(machine: Machine) -> None:
    while (status := machine.qmp.wait_for_event("MIGRATION")["status"]) != "completed":
        assert status != "failed"


@pytest.fixture(scope="module")
def template(micro_image: BuiltImage) -> Iterator[Template]:
    with tempfile.TemporaryDirectory(prefix="guesthouse-test-") as name:
        folder = Path(name)
        with running(micro_image, _options(folder, "on", "template"), _MEMORY_MIB) as machine:
            assert machine.report.receive() == {"stage": "gate"}
            machine.qmp.ask("stop")
            frozen_at_s = time.time()
            machine.qmp.ask("migrate-set-capabilities", **_ON)
            machine.qmp.ask("migrate", uri=f"exec:cat >{folder}/state")
            _wait_until_migrated(machine)
        yield Template(micro_image, folder, frozen_at_s)


@contextlib.contextmanager
def _forked(template: Template, seed: Path) -> Iterator[Machine]:
    """A machine that goes on from the template, with a seed and a NIC."""
    options = [*_options(template.folder, "off", "machine"), "-S", "-incoming", "defer"]
    with running(template.image, options, _MEMORY_MIB) as machine:
        ask = machine.qmp.ask
        ask("migrate-set-capabilities", **_ON)
        ask("migrate-incoming", uri=f"exec:cat {template.folder}/state")
        _wait_until_migrated(machine)
        ask("netdev_add", type="user", id="net0", hostfwd=[{"str": "tcp:127.0.0.1:0-:22"}])
        ask("device_add", driver="virtio-net-pci", netdev="net0", mac=_MAC, romfile="", bus="port0")
        file = {"driver": "file", "filename": str(seed), "read-only": True}
        ask("blockdev-add", **{"node-name": "seed", "driver": "raw", "read-only": True, "file": file})
        ask("device_add", driver="virtio-blk-pci", drive="seed", serial="seed", bus="port2")
        machine.find_ssh_port()
        ask("cont")
        yield machine


_MAC = "52:54:00:00:00:01"


def _write_seed(folder: Path, name: str, shell: SecureShell) -> Path:
    """A seed without a host key and without randomness of its own: what differs then is the guest's doing."""
    lan = {"match": {"macaddress": _MAC}, "dhcp4": True}
    first_moments = [f"{command} >>/run/first-moments" for command in _RANDOM]
    files = {
        "meta-data": json.dumps({"instance-id": name, "local-hostname": name, "public-keys": [shell.public]}),
        "user-data": "#cloud-config\n" + json.dumps({"bootcmd": first_moments}),
        "network-config": json.dumps({"version": 2, "ethernets": {"lan": lan}}),
    }
    return write_seed(folder / f"{name}.iso", files)


@pytest.fixture(scope="module")
def forks(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fork, Fork]]:
    """Two forks; the second starts when the first is configured, and finds the template older."""
    folder = tmp_path_factory.mktemp("forks")
    shell = SecureShell(folder)
    with contextlib.ExitStack() as stack:
        made = []
        for name in ("one", "two"):
            machine = stack.enter_context(_forked(template, _write_seed(folder, name, shell)))
            made.append(Fork(machine, shell, [machine.report.receive(), machine.report.receive()]))
        yield made[0], made[1]


def test_forks_are_configured(forks: tuple[Fork, Fork]) -> None:
    configured = {"ok": True, "source": "nocloud", "failures": [], "ignored": [], "log": ""}
    for fork, name in zip(forks, ("one", "two"), strict=True):
        key = " ".join(fork.ask("dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-").split()[:2])
        assert fork.reports == [{"stage": "reachable"}, {"stage": "configured", **configured, "host_key": key}]
        assert fork.ask("hostname; cat /etc/hostname; hostname -f").split() == [name] * 3
        assert fork.ask("cloud-init status --wait").strip() == "status: done"


def test_each_fork_has_an_identity_of_its_own(forks: tuple[Fork, Fork]) -> None:
    one, two = (
        fork.ask("cat /etc/machine-id; dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key").splitlines()
        for fork in forks
    )
    assert len(one) == len(two) > 3
    keys = [[line for line in said if line.startswith("ssh-ed25519")] for said in (one, two)]
    assert len(keys[0]) == 1
    assert keys[0] != keys[1]
    assert one[0] != two[0]
    assert len(one[0]) == 32


@pytest.mark.parametrize("command", ["cat /run/first-moments", "; ".join(_RANDOM)], ids=["at first", "later"])
def test_no_two_forks_share_random_numbers(forks: tuple[Fork, Fork], command: str) -> None:
    one, two = (set(fork.ask(command).splitlines()) for fork in forks)
    assert len(one) == len(two) == 4 + 4 + 3
    assert not one & two


def test_the_clock_is_right(template: Template, forks: tuple[Fork, Fork]) -> None:
    """It tells whole seconds at a boot, so that a second's half is what it may be wrong by."""
    for fork in forks:
        before = time.time()
        told = float(fork.ask("date +%s"))
        assert before - 2 < told < time.time() + 1
    assert before - template.frozen_at_s > 3  # the second would fail if its clock had gone on from the template's


def test_a_nic_that_is_plugged_later_gets_an_address(forks: tuple[Fork, Fork]) -> None:
    fork = forks[0]
    fork.machine.qmp.ask("netdev_add", type="user", id="net1", net="10.9.0.0/24")
    more = {"netdev": "net1", "mac": "52:54:00:00:00:02", "romfile": "", "bus": "port1"}
    fork.machine.qmp.ask("device_add", driver="virtio-net-pci", **more)
    said = fork.ask("until ip -4 -o address show dev eth1 2>/dev/null | grep -m1 10.9.0.15; do sleep 0.1; done")
    assert "10.9.0.15/24" in said
    # The first NIC has one client that keeps its lease, not a second one of `hotplug`.
    assert fork.ask("pidof udhcpc").split() != []
    assert fork.ask("ps -o args | grep -c '[u]dhcpc.*-i eth0'").strip() == "1"


def test_console_and_agent_are_those_of_any_machine(forks: tuple[Fork, Fork]) -> None:
    machine = forks[0].machine
    assert machine.agent.ask("guest-sync-delimited", id=7) == 7
    assert machine.agent.ask("guest-get-host-name")["host-name"] == "one"


def test_a_fork_that_reboots_has_no_gate(forks: tuple[Fork, Fork]) -> None:
    fork = forks[1]
    fork.machine.agent.ask("guest-sync-delimited", id=7)
    fork.machine.agent.ask("guest-exec", path="reboot")
    assert fork.machine.report.receive() == {"stage": "reachable"}
    assert fork.machine.wait_until_configured()["ok"] is True
    assert fork.ask("hostname; ls /run/guest 2>/dev/null; cat /sys/class/dmi/id/product_family").split() == [
        "two",
        "machine",
    ]
