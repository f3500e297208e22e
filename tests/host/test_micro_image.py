"""The micro image as real machines: what it does with a NoCloud disk and with the metadata service."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.bare_qemu import Machine, SecureShell, running, write_seed
from tests.guestfiles.metadata_service import layout, serving
from tests.patience import PATIENCE_S

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm

_LARGEST_BYTES = 40_000_000
_NETWORK = "user,id=net0,hostfwd=tcp:127.0.0.1:0-:22"
_NIC = "virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:00:01"

# Passes one connection of the guest on to a port of this host, as QEMU's guestfwd runs it.
_RELAY = """
import socket, sys, threading
ours = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def pour(read, write):
    while data := read(65536):
        write(data)
threading.Thread(target=pour, args=(sys.stdin.buffer.read1, ours.sendall), daemon=True).start()
pour(ours.recv, lambda data: (sys.stdout.buffer.write(data), sys.stdout.buffer.flush()))
"""


def test_the_image_is_small(micro_image: BuiltImage) -> None:
    assert micro_image.disk is None
    files = {path.name: path.stat().st_size for path in micro_image.folder.iterdir()}
    assert set(files) == {micro_image.kernel, micro_image.initrd}
    assert sum(files.values()) < _LARGEST_BYTES
    assert [path.name for path in micro_image.folder.parent.iterdir()] == ["micro"]  # no working folder is left


# --- a machine that gets everything ---------------------------------------------------------------------------


@dataclass
class Configured:
    """A configured machine with 128 MiB, what it reported, and how to log in."""

    machine: Machine
    shell: SecureShell
    reports: list[object]


@pytest.fixture(scope="module")
def configured(micro_image: BuiltImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """Two NICs, a data disk on IDE, a seed on virtio; every kind of setting in user-data."""
    folder = tmp_path_factory.mktemp("configured")
    shell = SecureShell(folder)
    user_data = {
        "fqdn": "web.example.org",
        "users": [
            "default",
            {"name": "ann", "groups": "ops", "shell": "/bin/bash", "ssh_authorized_keys": [shell.public]},
        ],
        "ssh_authorized_keys": [shell.public],
        "ssh_keys": {"ed25519_private": shell.host_private, "ed25519_public": shell.host_public},
        "write_files": [
            {"path": "/srv/text", "content": base64.b64encode(b"hello\n").decode(), "encoding": "b64"},
            {"path": "/srv/ann", "owner": "ann:ops", "permissions": "0640", "content": "x", "defer": True},
        ],
        "bootcmd": ["echo boot >/run/order"],
        "runcmd": ["echo run >>/run/order", ["sh", "-c", "ip route >/run/routes"]],
        "timezone": "Europe/Madrid",
    }
    files = {
        "meta-data": "instance-id: one\nlocal-hostname: ignored\n",
        "user-data": "#cloud-config\n" + json.dumps(user_data),
        "vendor-data": "#cloud-config\nwrite_files: [{path: /srv/vendor}]\nfinal_message: done at $UPTIME\n",
    }
    data = folder / "data"
    with data.open("wb") as file:
        file.truncate(1 << 20)
    options = [
        *("-drive", f"if=virtio,format=raw,readonly=on,file={write_seed(folder / 'seed', files)}"),
        *("-drive", f"if=none,id=data,format=raw,file={data}", "-device", "ide-hd,drive=data"),
        *("-netdev", _NETWORK, "-device", _NIC, "-netdev", "user,id=net1,net=10.9.0.0/24"),
        *("-device", "virtio-net-pci,netdev=net1,romfile=,mac=52:54:00:00:00:02"),
    ]
    with running(micro_image, options) as machine:
        yield Configured(machine, shell, [machine.report.receive(), machine.report.receive()])


def test_the_host_is_told(configured: Configured) -> None:
    ignored = [{"module": "timezone", "message": "the clock is UTC"}]
    assert configured.reports == [
        {"stage": "reachable"},
        {
            "stage": "configured",
            "ok": True,
            "source": "nocloud",
            "failures": [],
            "ignored": ignored,
            "log": "",
            "host_key": "",
        },
    ]


def test_log_in_with_the_given_host_key(configured: Configured) -> None:
    run = configured.shell.run
    assert run(configured.machine, "id -un; hostname; hostname -f").split() == ["root", "web", "web.example.org"]
    assert run(configured.machine, "id -un; pwd", "guest").split() == ["guest", "/home/guest"]
    assert run(configured.machine, "id -Gn; echo $BASH_VERSION | cut -c1", "ann").split() == ["ann", "ops", "5"]


def test_files_and_commands(configured: Configured) -> None:
    look = "cat /srv/text /run/order; stat -c '%U:%G %a' /srv/ann; test -e /srv/vendor || echo user wins"
    said = configured.shell.run(configured.machine, look).splitlines()
    assert said == ["hello", "boot", "run", "ann:ops 640", "user wins"]


def test_every_nic_has_an_address_before_commands_run(configured: Configured) -> None:
    routes = configured.shell.run(configured.machine, "cat /run/routes")
    assert "default via 10.0.2.2 dev eth0" in routes
    assert "10.9.0.0/24 dev eth1" in routes
    assert "nameserver 10.0.2.3" in configured.shell.run(configured.machine, "cat /etc/resolv.conf")


def test_a_nic_whose_name_servers_come_late_takes_no_other_ones_away(configured: Configured) -> None:
    """Each script writes the one file of all: one that stands still in the middle must not write what it knew then."""
    commands = """
        cd /run/resolv.conf.d
        answer() { interface=$1 ip=$2 mask=24 dns=$3 /usr/lib/guest/dhcp bound; }
        rm -f eth0.dhcp
        mkfifo 0
        answer eth1 10.9.0.15 10.9.0.3 & late=$!
        exec 8>0  # opens when it reads: it has seen which files there are
        rm 0
        answer eth0 10.0.2.15 10.0.2.3
        exec 8>&-
        wait $late"""
    said = configured.shell.run(configured.machine, f"({commands}) </dev/null >/dev/null; cat /etc/resolv.conf")
    assert said == "nameserver 10.0.2.3\nnameserver 10.9.0.3\n"


def test_disks_are_there_and_not_mounted(configured: Configured) -> None:
    said = configured.shell.run(configured.machine, "ls /sys/class/block; cat /proc/mounts")
    assert {"vda", "sda"} <= set(said.split())
    assert "/dev/vda" not in said
    assert "/dev/sda" not in said


def test_a_data_disk_can_be_used(configured: Configured) -> None:
    commands = "mke2fs /dev/sda >/dev/null; mount /dev/sda /mnt; echo kept >/mnt/file; umount /mnt; mount /dev/sda /mnt"
    assert configured.shell.run(configured.machine, f"{commands}; cat /mnt/file; umount /mnt") == "kept\n"


def test_the_status_command(configured: Configured) -> None:
    said = configured.shell.run(configured.machine, "cloud-init status --wait --long; cat /run/cloud-init/result.json")
    assert said.startswith("status: done\ndetail:\nDataSourceNoCloud [seed=/dev/vda][dsmode=net]\n")
    assert '"errors": []' in said


def test_files_are_copied_by_scp(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("and back")
    options = configured.shell.options(configured.machine.ssh_port, check_host_key=True)
    remote = "root@127.0.0.1:/tmp/file"
    for pair in ([str(tmp_path / "there"), remote], [remote, str(tmp_path / "back")]):
        subprocess.run(["scp", "-q", *options, *pair], check=True, timeout=PATIENCE_S)
    assert (tmp_path / "back").read_text() == "and back"


def test_the_agent_runs_programs(configured: Configured) -> None:
    agent = configured.machine.agent
    assert agent.ask("guest-sync-delimited", id=7) == 7
    assert agent.ask("guest-ping") == {}
    pid = agent.ask("guest-exec", path="/bin/sh", arg=["-c", "echo out; exit 3"], **{"capture-output": True})["pid"]
    while not (result := agent.ask("guest-exec-status", pid=pid))["exited"]:
        pass
    assert (result["exitcode"], base64.b64decode(result["out-data"])) == (3, b"out\n")


def test_the_console_is_a_shell_of_root(configured: Configured) -> None:
    console = configured.machine.console
    console.settimeout(PATIENCE_S)
    console.sendall(b"\nid -un | tr a-z A-Z\n")
    said = b""
    while b"ROOT" not in said:
        said += console.recv(4096)


def test_the_kernel_got_randomness_from_the_host(configured: Configured) -> None:
    said = configured.shell.run(configured.machine, "cat /sys/class/misc/hw_random/rng_current; dmesg")
    assert said.startswith("virtio_rng.")


def test_a_nic_that_is_plugged_in_gets_an_address(configured: Configured) -> None:
    machine = configured.machine
    machine.qmp.ask("netdev_add", type="user", id="net2", net="10.7.0.0/24")
    machine.qmp.ask("device_add", driver="virtio-net-pci", netdev="net2", romfile="", mac="52:54:00:00:00:03")
    wait = "until ip -4 -o address show dev eth2 2>/dev/null | grep 10.7.0.; do usleep 100000; done"
    assert "10.7.0.15/24" in configured.shell.run(machine, wait)


# --- machines with troubles, other disks, other ends ------------------------------------------------------------


def test_failures_are_reported_by_name_and_the_agent_powers_off(micro_image: BuiltImage, tmp_path: Path) -> None:
    """On the older machine type, seed on an IDE CD-ROM, fixed addresses."""
    shell = SecureShell(tmp_path)
    files = {
        "meta-data": json.dumps({"instance-id": "two", "local-hostname": "two", "public-keys": [shell.public]}),
        "user-data": "#cloud-config\nruncmd: [echo last words, exit 3]\npackages: [nginx]\nhostnam: x\n",
        "network-config": json.dumps(
            {
                "version": 2,
                "ethernets": {
                    "lan": {
                        "match": {"macaddress": "52:54:00:00:00:01"},
                        "set-name": "lan0",
                        "addresses": ["10.0.2.15/24"],
                        "gateway4": "10.0.2.2",
                        "nameservers": {"addresses": ["10.0.2.3"]},
                    }
                },
            }
        ),
    }
    seed = write_seed(tmp_path / "seed", files)
    options = ["-machine", "pc", "-cdrom", str(seed), "-netdev", _NETWORK, "-device", _NIC]
    with running(micro_image, options) as machine:
        report = machine.wait_until_configured()
        assert (report["ok"], report["source"]) == (False, "nocloud")
        assert report["failures"] == [
            {"module": "packages", "message": "the micro image has no package manager"},
            {"module": "hostnam", "message": "the micro image does not know this key"},
            {"module": "runcmd", "message": "exit status 3: last words"},
        ]
        assert "last words" in report["log"].splitlines()
        said = shell.run(
            machine, "hostname; ip -4 -o address show dev lan0; cat /etc/resolv.conf", check_host_key=False
        )
        assert said.startswith("two\n")
        assert "10.0.2.15/24" in said
        assert "nameserver 10.0.2.3" in said
        machine.agent.ask("guest-sync-delimited", id=1)
        command = json.dumps({"execute": "guest-shutdown"}).encode() + b"\n"
        machine.agent.end.sendall(command)  # has no answer
        assert machine.wait_for_end() == 0


def test_the_metadata_service_and_the_power_button(micro_image: BuiltImage, tmp_path: Path) -> None:
    shell = SecureShell(tmp_path)
    relay = tmp_path / "relay.py"
    relay.write_text(_RELAY)
    with serving(layout("#!/bin/sh\necho $((6 * 7)) >/run/answer\n", {"mine": shell.public})) as port:
        forward = f"guestfwd=tcp:169.254.169.254:80-cmd:{sys.executable} {relay} {port}"
        network = f"user,id=net0,net=169.254.0.0/16,hostfwd=tcp:127.0.0.1:0-:22,{forward}"
        options = ["-uuid", "ec2a0000-0000-4000-8000-000000000001", "-netdev", network, "-device", _NIC]
        with running(micro_image, [*options, "-machine", "q35"]) as machine:
            report = machine.wait_until_configured()
            assert (report["ok"], report["source"], report["failures"]) == (True, "ec2", [])
            said = shell.run(machine, "hostname; cat /run/answer", "guest", check_host_key=False)
            assert said.split() == ["ip-10-0-2-15", "42"]
            machine.qmp.ask("system_powerdown")
            assert machine.wait_for_end() == 0


def test_without_a_source_it_comes_up_and_restarts_on_request(micro_image: BuiltImage) -> None:
    """QEMU ends instead of resetting: booting again in the same process is slow on TCG, and no other boot."""
    options = ["-netdev", _NETWORK, "-device", _NIC, "-action", "reboot=shutdown"]
    with running(micro_image, options) as machine:
        report = machine.wait_until_configured()
        assert (report["ok"], report["source"]) == (True, "none")
        machine.agent.ask("guest-sync-delimited", id=1)
        machine.agent.ask("guest-exec", path="reboot")
        assert machine.qmp.wait_for_event("SHUTDOWN")["reason"] == "guest-reset"
        assert machine.wait_for_end() == 0
