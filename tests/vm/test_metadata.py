"""Machines without a seed disk: cloud-init, as it is, finds all that it is to do at the metadata service."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.host.nets import on_a_host
from tests.vm.houses import a_daemon, guest
from tests.vm.test_networks import a_house_on_a_host, until_ready

from guesthouse.formats.cloudids import ec2_id
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
RUNS = b"#cloud-config\nruncmd: [[sh, -c, 'echo ran >>/var/ran']]\n"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBPiEXmCSzFsax8q1BiD7xyM9ZSFnozUH6pbTkMIRnE0 me@desk"
# Asks in EC2's first version, without a session.
ASK = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id"


async def in_guest(house: House, machine: str, command: str) -> str:
    return (await guest(house, "exec", machine, "--", "sh", "-c", command)).strip()


async def shown(house: House, machine: str) -> Any:
    return json.loads(await guest(house, "show", machine, "--json"))


async def a_private_network(house: House) -> None:
    await guest(house, "network", "create", "shop", "--mode", "private")
    await guest(house, "subnet", "create", "shop", "10.1.0.0/24")


async def launched(house: House, folder: Path, image: str, memory: str, *more: str, says: str = "") -> Any:
    """A machine that got its user-data packed; as it is shown when it is configured."""
    (folder / "user-data.gz").write_bytes(gzip.compress(RUNS))
    (folder / "key.pub").write_text(KEY)
    words = ("--memory", memory, "--network", "shop", "--datasource", "metadata")
    files = ("--user-data", str(folder / "user-data.gz"), "--ssh-key", str(folder / "key.pub"))
    assert says in await guest(house, "launch", image, "--name", "web", *words, *files, *more, "--timeout", "20m")
    return await shown(house, "web")


async def see_how_it_was_configured(house: House, machine: Any, home: str, *, booted: bool = True) -> None:
    assert machine["status"]["outcome"] == {"ok": True, "source": "ec2", "failures": [], "log": ""}
    assert await in_guest(house, "web", "hostname; cat /var/ran; cloud-init status") == "web\nran\nstatus: done"
    assert KEY in await in_guest(house, "web", f"cat {home}/.ssh/authorized_keys")
    assert await in_guest(house, "web", "cat /sys/class/block/*/serial 2>/dev/null | grep -c seed; true") == "0"
    uuid, serial = (await in_guest(house, "web", "cd /sys/class/dmi/id; cat product_uuid product_serial")).split()
    assert uuid == serial
    assert uuid[:3] == "ec2"
    assert (uuid[3:] == machine["id"][3:]) is booted, "a fork knows of its template's firmware until it boots"


async def see_that_options_hold_at_once(house: House) -> None:
    assert await in_guest(house, "web", ASK) == "401"
    for options, status in (("tokens=optional", "200"), ("enabled=no", "403"), ("tokens=required,enabled=yes", "401")):
        await guest(house, "set", "web", "--metadata", options)
        assert await in_guest(house, "web", ASK) == status, options


def test_our_micro_image(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, _), a_daemon(house, networks=True) as daemon:
            await until_ready(daemon)
            await a_private_network(house)
            machine = await launched(house, tmp_path, "micro", "128M")
            await see_how_it_was_configured(house, machine, "/root")
            said = await in_guest(house, "web", "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key")
            assert machine["status"]["host_key"] in said
            await guest(house, "restart", "web", "--timeout", "20s")
            await guest(house, "wait", "web")
            await see_how_it_was_configured(house, await shown(house, "web"), "/root")

    on_a_host(tmp_path, look)


def test_a_fork_of_a_template(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, _), a_daemon(house, networks=True) as daemon:
            await until_ready(daemon)
            await a_private_network(house)
            await guest(house, "template", "create", "micro", "--memory", "128M", "--datasource", "metadata")
            machine = await launched(house, tmp_path, "micro", "128M", says="web is a fork of template")
            await see_how_it_was_configured(house, machine, "/root", booted=False)

    on_a_host(tmp_path, look)


def test_debians_cloud_init(tmp_path: Path, debian_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(debian_image) as (house, _), a_daemon(house, networks=True) as daemon:
            await until_ready(daemon)
            await a_private_network(house)
            # A boot is dear: this is where BIOS starts a Debian.
            machine = await launched(house, tmp_path, "debian", "768M", "--firmware", "bios")
            await see_how_it_was_configured(house, machine, "/home/debian")
            assert await in_guest(house, "web", "cloud-id") == "aws"
            made = await in_guest(house, "web", "cat /etc/ssh/ssh_host_ed25519_key.pub")
            assert made.startswith(f"{machine['status']['host_key']} ")
            await see_that_options_hold_at_once(house)
            await see_that_a_fork_will_not_be_configured_again(house)

    on_a_host(tmp_path, look)


async def see_that_a_fork_will_not_be_configured_again(house: House) -> None:
    await guest(house, "fork", "web")
    machine = await shown(house, "web-1")
    own = ec2_id("i", machine["id"])
    assert await in_guest(house, "web-1", "hostname; cat /var/ran") == "web-1\nran"
    assert await in_guest(
        house, "web-1", "cd /var/lib/cloud; readlink instance; ls instances; cat data/instance-id"
    ) == (f"/var/lib/cloud/instances/{own}\n{own}\n{own}")
    key = await in_guest(house, "web-1", "cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert key.startswith(machine["status"]["host_key"])
