"""Guests without a QEMU: network namespaces on a wire, and the metadata addresses at the other end of it.

All of it is in namespaces of a child process, and is gone with that, however the test ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.host.children import run_as, take_own_network

from guesthouse.doors.metadata.server import PORT
from guesthouse.host.processes import run
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6

GATEWAY, GUEST, BEHIND = "10.0.0.1", "10.0.0.5", "10.9.0.2"
_IPV6_FREEBIND = 78  # linux/in6.h
GATEWAY6, GUEST6 = "fd12:3456:789a:1::1", "fd12:3456:789a:1::5"


def on_a_network_of_its_own(work: Callable[[], Coroutine[Any, Any, None]], folder: Path) -> None:
    """Do the work in a child process whose network has nothing but a loopback device with the metadata addresses."""
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    resolver.chmod(0o644)
    run_as(lambda: take_own_network(resolver, f"{METADATA_IPV4}/32", f"{METADATA_IPV6}/128"), work)


def listeners() -> list[socket.socket]:
    """The sockets of the metadata addresses in this namespace, bound but not yet listening."""
    made = []
    for family, address in ((socket.AF_INET, METADATA_IPV4), (socket.AF_INET6, METADATA_IPV6)):
        sock = socket.socket(family)
        if family == socket.AF_INET6:
            # For a moment a new address is tentative, also on a loopback device, and nobody may bind to it.
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        sock.bind((address, PORT))
        made.append(sock)
    return made


@dataclass(frozen=True)
class Guest:
    """A namespace; programs run in it."""

    pid: int

    async def run(self, *argv: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
        """What a program said; its failure is ours."""
        inside = ["nsenter", f"--target={self.pid}", "--net", "--mount", *argv]
        return (await run(inside, stdin=stdin.encode(), environment=environment)).decode()


@asynccontextmanager
async def _namespace() -> AsyncIterator[Guest]:
    words = ("unshare", "--net", "--mount", "sh", "-c", "mount -t sysfs none /sys && echo here && exec cat")
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"here\n"
        guest = Guest(process.pid)
        await guest.run("ip", "link", "set", "lo", "up")
        yield guest
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def a_guest(mac: str) -> AsyncIterator[Guest]:
    """A guest on a wire to this namespace, which is its router."""
    async with _namespace() as guest:
        await _ip(f"link add wire type veth peer name eth0 address {mac} netns {guest.pid}")
        await _ip(f"addr add {GATEWAY}/24 dev wire")
        await _ip(f"addr add {GATEWAY6}/64 dev wire nodad")
        await _ip("link set wire up")
        for words in (
            f"addr add {GUEST}/24 dev eth0",
            f"addr add {GUEST6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {GATEWAY}",
            f"route add default via {GATEWAY6}",
        ):
            await guest.run("ip", *words.split())
        yield guest


@asynccontextmanager
async def a_container(guest: Guest) -> AsyncIterator[Guest]:
    """What runs behind a guest that routes for it, such as a container."""
    async with _namespace() as container:
        await guest.run(*f"ip link add inner type veth peer name eth0 netns {container.pid}".split())
        for where, words in (
            (guest, "ip addr add 10.9.0.1/24 dev inner"),
            (guest, "ip link set inner up"),
            (guest, "tee /proc/sys/net/ipv4/ip_forward"),
            (container, f"ip addr add {BEHIND}/24 dev eth0"),
            (container, "ip link set eth0 up"),
            (container, "ip route add default via 10.9.0.1"),
        ):
            await where.run(*words.split(), stdin="1")
        await _ip(f"route add {BEHIND}/32 via {GUEST}")
        yield container


async def _ip(words: str) -> None:
    await run(["ip", *words.split()])
