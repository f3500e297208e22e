"""The Debian image as UEFI boots it, and cloud-init's outcome in the report.

A boot takes a minute on an emulated processor, so that each way to boot is tried once: BIOS starts it in
`tests/vm/test_metadata.py`, its kernel is started directly in `test_debian_fork.py`, which tells what goes wrong, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests import debian
from tests.bare_qemu import Machine, SecureShell

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm

_META = "instance-id: i-1\nlocal-hostname: web\n"
_CONFIG = """#cloud-config
users:
  - default
  - name: deploy
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: [{key}]
ssh_keys:
  ed25519_private: |
{private}
  ed25519_public: {public}
write_files:
  - {{path: /srv/greeting, content: hello, owner: deploy, permissions: "0640", defer: true}}
runcmd:
  - hostname > /srv/ran
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> SecureShell:
    return SecureShell(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def configured(
    debian_image: BuiltImage, shell: SecureShell, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Any]]:
    """A machine that UEFI has started and that was told all kinds of things, and its last report."""
    private = "\n".join(f"    {line}" for line in shell.host_private.splitlines())
    config = _CONFIG.format(key=shell.public, private=private, public=shell.host_public)
    seed = {"user-data": config, "meta-data": _META}
    with debian.running(debian_image, seed, tmp_path_factory.mktemp("machine"), firmware="uefi") as machine:
        assert machine.report.receive() == {"stage": "reachable"}
        yield machine, machine.report.receive()


def test_it_reports_a_good_end(configured: tuple[Machine, Any], shell: SecureShell) -> None:
    _, report = configured
    good = {"stage": "configured", "ok": True, "source": "nocloud", "failures": [], "ignored": []}
    assert report == {**good, "host_key": " ".join(shell.host_public.split()[:2])}


def test_user_data_was_followed(configured: tuple[Machine, Any], shell: SecureShell) -> None:
    machine, _ = configured
    said = shell.run(
        machine,
        "hostname; cat /srv/ran; stat -c '%U %a' /srv/greeting; sudo cat /srv/greeting; echo;"
        " sudo id -un; id -un debian",
        user="deploy",
    )
    assert said.split() == ["web", "web", "deploy", "640", "hello", "root", "debian"]


def test_the_root_file_system_has_grown_with_the_disk(configured: tuple[Machine, Any], shell: SecureShell) -> None:
    machine, _ = configured
    gibibytes = int(shell.run(machine, "df --output=size -B 1G / | tail -1", user="deploy"))
    assert gibibytes == 4


def test_nothing_failed_and_nothing_of_the_build_is_left(configured: tuple[Machine, Any], shell: SecureShell) -> None:
    machine, _ = configured
    said = shell.run(
        machine,
        "systemctl --failed --no-legend; ls /etc/ssh/ssh_host_*; cat /etc/apt/sources.list.d/*; ls /etc/apt/apt.conf.d;"
        " dpkg --verify cloud-init; test -s /etc/machine-id && echo has an identity",
        user="deploy",
    )
    assert "failed" not in said
    assert [line for line in said.splitlines() if "ssh_host" in line] == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    ]
    assert "/etc/cloud" not in said
    assert "/usr/lib/python3" not in said
    assert "mmdebstrap" not in said
    assert said.endswith("has an identity\n")
