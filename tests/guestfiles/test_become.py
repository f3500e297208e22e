"""A guest in a scratch folder becomes another machine's: what is replaced, in which order, and what stays."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guesthouse.guestfiles.micro.firstboot import become, secureshell
from guesthouse.guestfiles.micro.firstboot.guest import Refused
from guesthouse.host.seed import make_host_key

from .conftest import ScratchGuest

OLD, NEW = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
KEY = make_host_key()
TOLD: dict[str, Any] = {
    "id": "0193c1a2-0000-4000-8000-00000000000b",
    "hostname": "web-1",
    "host_key": {"private": KEY.private, "public": KEY.public},
    "macs": {OLD: NEW},
    "random": base64.b64encode(b"r" * 64).decode(),
}
DRIVER = "/sys/bus/virtio/drivers/virtio_net"


@pytest.fixture
def web(guest: ScratchGuest) -> ScratchGuest:
    """A guest called web, with one NIC."""
    guest.write("/etc/hostname", b"web\n")
    guest.write("/etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 web.example.org web # not webmail\n")
    guest.write("/sys/class/rtc/rtc0/since_epoch", b"1000\n")
    guest.folder("/proc")
    plug(guest, "eth0", "virtio3", OLD)
    return guest


def plug(guest: ScratchGuest, nic: str, device: str, mac: str) -> None:
    guest.folder(f"/sys/bus/virtio/devices/{device}/driver")
    guest.folder(f"/sys/class/net/{nic}")
    guest.write(f"/sys/class/net/{nic}/address", mac.encode())
    guest.write(f"/sys/class/net/{nic}/type", b"1\n")
    link = Path(guest.path(f"/sys/class/net/{nic}/device"))
    if not link.exists():
        link.symlink_to(guest.path(f"/sys/bus/virtio/devices/{device}"))


def let_go(guest: ScratchGuest, device: str) -> None:
    """The kernel has done what it was told: the device has no driver."""
    Path(guest.path(f"/sys/bus/virtio/devices/{device}/driver")).rmdir()


def test_randomness_comes_first_and_then_the_clock(web: ScratchGuest) -> None:
    web.write("/dev/hwrng", b"h" * 1000)
    become.name(web, TOLD)
    kinds = [each[0] for each in web.kernel]
    assert kinds[:3] == ["entropy", "entropy", "clock"]
    assert ("entropy", b"r" * 64, 64) in web.kernel
    assert ("clock", 1000.5) in web.kernel


def test_names_are_replaced_where_they_stand_alone(web: ScratchGuest) -> None:
    web.write("/etc/machine-id", b"0" * 32 + b"\n")
    web.write("/var/lib/cloud/data/previous-hostname", b"web")
    become.name(web, TOLD)
    assert ("hostname", "web-1") in web.kernel
    assert web.read("/etc/hostname") == "web-1\n"
    assert web.read("/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 web-1.example.org web-1 # not webmail\n"
    assert web.read("/etc/machine-id") == "0193c1a20000400080000000" + "0000000b\n"
    assert web.read("/var/lib/cloud/data/previous-hostname") == "web-1"


CLOUD = "/var/lib/cloud"
BEFORE, AFTER = "i-0193c1a2000040008", "i-0193c1a2000040009"


def configured_as(guest: ScratchGuest, name: str) -> None:
    guest.write(f"{CLOUD}/instances/{name}/sem/config_runcmd", b"done")
    guest.write(f"{CLOUD}/data/instance-id", f"{name}\n".encode())
    Path(guest.path(f"{CLOUD}/instance")).symlink_to(f"{CLOUD}/instances/{name}")


@pytest.mark.parametrize("broken_off", ["", "folder", "link"])
def test_cloud_init_has_configured_whom_it_will_be_told_to_be(web: ScratchGuest, broken_off: str) -> None:
    configured_as(web, BEFORE)
    folder, link = Path(web.path(f"{CLOUD}/instances")), Path(web.path(f"{CLOUD}/instance"))
    if broken_off:
        (folder / BEFORE).rename(folder / AFTER)
        Path(f"{link}.new").symlink_to("half")
    if broken_off == "link":
        link.unlink()
        link.symlink_to(f"{CLOUD}/instances/{AFTER}")
    become.name(web, {**TOLD, "instance_id": AFTER})
    assert [each.name for each in folder.iterdir()] == [AFTER]
    assert web.read(f"{CLOUD}/instances/{AFTER}/sem/config_runcmd") == "done"
    assert str(link.readlink()) == f"{CLOUD}/instances/{AFTER}"
    assert web.read(f"{CLOUD}/data/instance-id") == f"{AFTER}\n"
    assert not Path(f"{link}.new").is_symlink()


def test_with_a_seed_disk_cloud_init_keeps_its_instance(web: ScratchGuest) -> None:
    configured_as(web, BEFORE)
    become.name(web, TOLD)
    assert web.read(f"{CLOUD}/data/instance-id") == f"{BEFORE}\n"


def test_what_is_not_there_is_not_made(web: ScratchGuest) -> None:
    become.name(web, TOLD)
    for path in ("/etc/machine-id", "/var/lib/cloud", "/etc/dropbear", "/etc/ssh"):
        assert not web.exists(path)


def test_dropbear_serves_with_the_new_key_alone_as_it_did_before(web: ScratchGuest) -> None:
    for path in secureshell.KEY_FILES.values():
        web.write(path, b"old", 0o600)
    with subprocess.Popen(["sleep", "1000"]) as server:
        web.write(f"/proc/{server.pid}/cmdline", b"dropbear\0-r\0/etc/dropbear/x\0-s\0")
        web.write("/proc/1/cmdline", b"init\0")
        become.name(web, TOLD)
        assert server.wait() == -9
    key = Path(web.path(secureshell.KEY_FILES["ed25519"])).read_bytes()
    assert key not in (b"old", b"")
    assert not web.exists(secureshell.KEY_FILES["rsa"])
    started = [argv for argv, _ in web.told if argv[0] == "dropbear"]
    assert started == [["dropbear", "-r", web.path(secureshell.KEY_FILES["ed25519"]), "-s"]]


def test_openssh_gets_the_key_and_new_ones_of_the_other_kinds(web: ScratchGuest) -> None:
    for kind in ("ed25519", "rsa"):
        web.write(f"/etc/ssh/ssh_host_{kind}_key", b"old", 0o600)
        web.write(f"/etc/ssh/ssh_host_{kind}_key.pub", b"old")
    web.write("/etc/ssh/sshd_config", b"# mine\n")
    become.name(web, TOLD)
    assert web.read("/etc/ssh/ssh_host_ed25519_key") == KEY.private
    assert web.mode("/etc/ssh/ssh_host_ed25519_key") == 0o600
    assert web.read("/etc/ssh/ssh_host_ed25519_key.pub") == KEY.public + "\n"
    assert web.read("/etc/ssh/sshd_config") == "# mine\n"
    made = [argv for argv, _ in web.told if argv[0] == "ssh-keygen"]
    assert [argv[3] for argv in made] == ["rsa"]
    assert not web.exists("/etc/ssh/ssh_host_rsa_key"), "the program that makes it is only noted here"


def test_a_nic_loses_its_driver_and_its_old_address_wherever_that_is_written(web: ScratchGuest) -> None:
    web.write("/etc/netplan/50-cloud-init.yaml", f"match: {{macaddress: '{OLD.upper()}'}}\n".encode(), 0o600)
    web.write("/etc/systemd/network/other.network", b"[Match]\nMACAddress=52:54:00:00:00:99\n")
    become.name(web, TOLD)
    assert ("told", f"{DRIVER}/unbind", "virtio3") in web.kernel
    assert web.read("/etc/netplan/50-cloud-init.yaml") == f"match: {{macaddress: '{NEW}'}}\n"
    assert web.mode("/etc/netplan/50-cloud-init.yaml") == 0o600
    assert "00:99" in web.read("/etc/systemd/network/other.network")
    let_go(web, "virtio3")
    become.network(web)
    assert ("told", f"{DRIVER}/bind", "virtio3") in web.kernel


def test_other_nics_are_left_alone(web: ScratchGuest) -> None:
    plug(web, "eth1", "virtio4", "52:54:00:00:00:77")
    become.name(web, TOLD)
    assert [each for each in web.kernel if each[0] == "told"] == [("told", f"{DRIVER}/unbind", "virtio3")]


def test_doing_it_again_after_every_part_ends_the_same(web: ScratchGuest) -> None:
    become.name(web, TOLD)
    let_go(web, "virtio3")
    state = web.read(become.STATE)
    Path(web.path("/sys/class/net/eth0/address")).unlink()
    Path(web.path("/sys/class/net/eth0/type")).unlink()
    become.name(web, TOLD)
    assert web.read(become.STATE) == state
    become.network(web)
    plug(web, "eth0", "virtio3", NEW)
    become.name(web, TOLD)
    assert json.loads(web.read(become.STATE)) == json.loads(state)
    assert web.read("/etc/hosts").count("web-1") == 2


def test_a_fork_of_a_fork_forgets_the_nics_of_the_one_before(web: ScratchGuest) -> None:
    become.name(web, TOLD)
    plug(web, "eth0", "virtio3", NEW)
    become.name(web, {**TOLD, "hostname": "web-2", "macs": {NEW: OLD}})
    assert json.loads(web.read(become.STATE)) == {"hostname": "web-2", "nics": [["eth0", "virtio3"]]}


def test_networkd_starts_again_with_the_new_id_and_is_waited_for(web: ScratchGuest) -> None:
    web.write("/lib/systemd/systemd-networkd-wait-online", b"")
    become.name(web, TOLD)
    become.network(web)
    told = [argv for argv, _ in web.told]
    restarted, waited = (
        ["systemctl", "restart", "systemd-networkd.service"],
        "/lib/systemd/systemd-networkd-wait-online",
    )
    assert told.index(restarted) < next(at for at, argv in enumerate(told) if argv[0] == waited)


def test_programs_of_the_guests_own_are_run_last_and_told_the_name(web: ScratchGuest) -> None:
    web.write(f"{become.HOOKS}/20-later", b"", 0o755)
    web.write(f"{become.HOOKS}/10-first", b"", 0o755)
    web.write(f"{become.HOOKS}/notes", b"", 0o644)
    become.name(web, TOLD)
    become.network(web)
    assert [argv for argv, _ in web.told][-2:] == [
        [f"{become.HOOKS}/10-first", "web-1"],
        [f"{become.HOOKS}/20-later", "web-1"],
    ]


def test_what_cannot_be_done_is_said(web: ScratchGuest) -> None:
    web.write(f"{become.HOOKS}/broken", b"", 0o755)
    web.answers[f"{become.HOOKS}/broken"] = (3, b"no database here\n")
    become.name(web, TOLD)
    with pytest.raises(Refused, match="broken web-1: no database here"):
        become.network(web)


@pytest.mark.parametrize("arguments", [[], ["both"], ["name", "network"]])
def test_anything_else_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert become.main(arguments) == 1
    assert capsys.readouterr().err == "usage: become name|network\n"
