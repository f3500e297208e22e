"""A machine on a private network, entered through the house; and its NIC moved while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.host.nets import ask, left, on_a_host
from tests.patience import PATIENCE_S
from tests.vm.houses import a_daemon, a_furnished_house, guest

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
SSH = 22


def test_a_private_machine_is_entered_and_moved(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def live() -> None:
        async with a_furnished_house(micro_image) as house:
            try:
                async with a_daemon(house, networks=True):
                    await _build(house)
                    await _enter(house)
                    await _listen(house)
                    await _move(house)
                    await guest(house, "delete", "web", "--yes")
            finally:
                await clean(house)
            assert left() == []

    on_a_host(tmp_path, live)


async def _build(house: House) -> None:
    await guest(house, "network", "create", "shop", "--mode", "private")
    await guest(house, "subnet", "create", "shop", "10.1.0.0/24")
    await guest(house, "group", "create", "shop", "closed")
    await guest(house, "template", "create", "micro", "--memory", "128M")
    nic = "network=shop,groups=closed"
    await guest(house, "launch", "micro", "--name", "web", "--memory", "128M", "--nic", nic)


async def _enter(house: House) -> None:
    """The host does not reach it, its group lets nobody in; its operator enters, and knows it by its key."""
    assert await ask(None, "10.1.0.2", SSH, denied=True) == ""
    assert await guest(house, "shell", "web", "--", "hostname") == "web\n"
    known = house.home / "ssh/default/web.known_hosts"
    assert known.read_text().startswith("web ssh-ed25519 ")


async def _listen(house: House) -> None:
    process = await asyncio.create_subprocess_exec(
        "guest", "tunnel", "web", str(SSH), "--quiet", env={**os.environ, "GUESTHOUSE_HOME": str(house.home)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    host, _, port = (await process.stdout.readline()).decode().strip().rpartition(":")
    assert (await ask(None, host, int(port))).startswith("SSH-2.0-")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        assert await process.wait() == 0


async def _move(house: House) -> None:
    """The card keeps its MAC address; the guest asks for its new address by itself, and names follow."""
    mac = (await guest(house, "exec", "web", "--", "cat", "/sys/class/net/eth0/address")).strip()
    moved = await guest(house, "nic", "move", "web", "shop", "--network", "default")
    assert moved.endswith(f"web has NIC {mac} on network default at 10.100.0.2\n")
    assert (await guest(house, "nic", "list", "web")).splitlines()[1].split() == [
        mac, "virtio", "default", "main", "10.100.0.2", "-", "-",
    ]  # fmt: skip
    await guest(house, "exec", "web", "--", "sh", "-c", "until ip -4 address | grep -q 10.100.0.2; do sleep 0.1; done")
    assert await guest(house, "shell", "web", "--", "cat", "/sys/class/net/eth0/address") == f"{mac}\n"
    assert "leases:   10.100.0.2" in await guest(house, "network", "show", "default")
    assert "10.100.0.2" in await guest(house, "exec", "web", "--", "nslookup", "web.default.guest.internal")
    # The card that went has left nobody behind who asks for its address.
    assert await guest(house, "exec", "web", "--", "sh", "-c", "pidof udhcpc | wc -w") == "1\n"
    # Nobody has the old address any more.
    await guest(house, "network", "delete", "shop", "--yes")
