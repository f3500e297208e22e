"""Guests and this host's own addresses: what the fence lets through, how long it stands, and where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.host.boxes import a_house, changed, converge, publish, until, wanted
from tests.host.children import (
    NOBODY,
    become_nobody,
    lose_net_admin,
    mount_small,
    run_as,
    set_file_user,
    take_own_network,
)
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Observed
from guesthouse.formats.nftables import table_of
from guesthouse.host import fence, identity
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import LocalHost, open_host
from guesthouse.model.house import House
from guesthouse.model.machine import Power, Stage
from guesthouse.ports import Finding, GuestCommand

MACHINE = identity.MACHINES.start + 4711
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
OTHER = "10.9.0.1"
ADDRESSES = ("127.0.0.1", "127.0.0.53", OTHER, "::1")
DNS, SERVICE = 53, 7000


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    """Runs a piece of a test on a network of its own, whose resolver is 127.0.0.1."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    resolver.chmod(0o644)
    return lambda work: run_as(lambda: take_own_network(resolver, f"{OTHER}/24"), work)


@contextmanager
def opened_by(user: int) -> Iterator[None]:
    """Sockets that are made in this block belong to `user`, where we may give them away."""
    if identity.can_confine():
        set_file_user(user)
    try:
        yield
    finally:
        if identity.can_confine():
            set_file_user(os.geteuid())


def a_socket(kind: int, address: str, user: int = 0) -> socket.socket:
    with opened_by(user):
        return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind | socket.SOCK_NONBLOCK)


def a_service(kind: int, address: str, port: int = 0, user: int = 0) -> socket.socket:
    """A socket at which somebody can ask."""
    service = a_socket(kind, address, user)
    service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    service.bind((address, port))
    if kind == TCP:
        service.listen()
    return service


async def serve(kind: int, service: socket.socket) -> None:
    """Answer each "ask" with "answer", for ever."""
    loop = asyncio.get_running_loop()
    while True:
        if kind == UDP:
            _, asker = await loop.sock_recvfrom(service, 64)
            await loop.sock_sendto(service, b"answer", asker)
        else:
            connection, _ = await loop.sock_accept(service)
            with connection, contextlib.suppress(ConnectionError):
                await loop.sock_recv(connection, 64)
                await loop.sock_sendall(connection, b"answer")


async def ask(kind: int, address: str, port: int, user: int = 0) -> str:
    """What a process of `user` gets from a service: its answer, or that it is refused at once."""
    loop = asyncio.get_running_loop()
    with a_socket(kind, address, user) as asking:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await loop.sock_connect(asking, (address, port))
                await loop.sock_sendall(asking, b"ask")
                return (await loop.sock_recv(asking, 64)).decode()
        except (ConnectionRefusedError, PermissionError):
            return "refused"


@asynccontextmanager
async def services(*places: tuple[int, str, int]) -> AsyncIterator[None]:
    """Services of others at these places, as long as the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        running = [(tasks.create_task(serve(kind, sock)), sock) for kind, sock in _bound(places)]
        try:
            yield
        finally:
            for task, sock in running:
                task.cancel()
                await asyncio.wait([task])
                sock.close()


def _bound(places: tuple[tuple[int, str, int], ...]) -> list[tuple[int, socket.socket]]:
    return [(kind, a_service(kind, address, port)) for kind, address, port in places]


def tables() -> list[str]:
    """The tables of this network, as nft names them; none for a user who may not look."""
    listed = subprocess.run(("nft", "list", "tables"), capture_output=True, text=True)
    return [line.removeprefix("table ") for line in listed.stdout.splitlines()]


def expected(house: House) -> list[str]:
    return [table_of(house.home)] if identity.can_confine() else []


async def loopback(host: LocalHost) -> Finding:
    return next(finding for finding in await host.facts.check() if finding.name == "loopback")


def test_machines_users_reach_nothing_of_their_host_but_its_resolver(alone: Any) -> None:
    places = tuple(itertools.product((TCP, UDP), ADDRESSES, (DNS, SERVICE)))

    async def look() -> None:
        with a_house() as house:
            async with services(*places), open_host(house) as host:
                closed = identity.can_confine()
                assert (await loopback(host)).level == ("ok" if closed else "warning")
                for kind, address, port in places:
                    refused = closed and port != DNS
                    assert await ask(kind, address, port, MACHINE) == ("refused" if refused else "answer")
                    assert await ask(kind, address, port, NOBODY) == "answer"
                    assert await ask(kind, address, port) == "answer"

    alone(look)


@pytest.mark.parametrize("edge", [identity.MACHINES.start - 1, identity.MACHINES.stop])
def test_users_beside_the_range_are_others(alone: Any, edge: int) -> None:
    async def look() -> None:
        with a_house() as house:
            async with services((TCP, "127.0.0.1", SERVICE)), open_host(house):
                assert await ask(TCP, "127.0.0.1", SERVICE, edge) == "answer"

    alone(look)


@pytest.mark.parametrize("kind", [TCP, UDP])
def test_machines_users_answer_at_forwarded_ports(alone: Any, kind: int) -> None:
    async def look() -> None:
        with a_house() as house, a_service(kind, "127.0.0.1", user=MACHINE) as forwarded:
            async with open_host(house):
                serving = asyncio.ensure_future(serve(kind, forwarded))
                assert await ask(kind, "127.0.0.1", forwarded.getsockname()[1]) == "answer"
                serving.cancel()

    alone(look)


def test_connections_from_before_live_on(alone: Any) -> None:
    async def look() -> None:
        loop = asyncio.get_running_loop()
        with a_house() as house, a_service(TCP, "127.0.0.1", user=MACHINE) as forwarded, a_socket(TCP, "") as client:
            await loop.sock_connect(client, forwarded.getsockname())
            connection, _ = await loop.sock_accept(forwarded)
            with connection:
                async with open_host(house), asyncio.timeout(PATIENCE_S):
                    await loop.sock_sendall(connection, b"still here")
                    assert await loop.sock_recv(client, 64) == b"still here"

    alone(look)


@pytest.mark.vm
async def test_the_fence_stands_as_long_as_the_daemon_or_a_machine() -> None:
    desired = wanted()
    with a_house() as house:
        async with open_host(house):
            assert set(expected(house)) <= set(tables())
        assert table_of(house.home) not in tables()
        async with open_host(house) as host:
            await converge(host, desired)
        assert set(expected(house)) <= set(tables())
        async with open_host(house) as host:
            assert set(expected(house)) <= set(tables())
            await converge(host, changed(desired, power=Power.STOPPED, stop_timeout_s=0))
        assert table_of(house.home) not in tables()
        async with open_host(house) as host:
            await converge(host, desired)
    assert table_of(house.home) not in tables()


def test_two_houses_have_two_fences(alone: Any) -> None:
    async def look() -> None:
        with a_house() as one, a_house() as other:
            async with open_host(one):
                async with open_host(other):
                    assert sorted(tables()) == sorted(expected(one) + expected(other))
                assert tables() == expected(one)

    alone(look)


def test_a_fence_that_another_program_flushes_comes_back(alone: Any) -> None:
    async def look() -> None:
        with a_house() as house, _changes() as changes:
            async with open_host(house), asyncio.timeout(PATIENCE_S):
                subprocess.run(("nft", "flush", "ruleset"), check=True)
                while tables() != expected(house):
                    await asyncio.get_running_loop().sock_recv(changes, 1 << 16)

    alone(look)


def _changes() -> socket.socket:
    changes = fence.listen()
    assert changes is not None
    return changes


def test_without_nft_the_house_opens_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And once it is installed, the next check closes the gap."""
    nft = shutil.which("nft", path="/usr/sbin")
    assert nft
    kept = tmp_path / "nft"
    shutil.copy(nft, kept)

    async def look() -> None:
        with a_house() as house:
            async with open_host(house) as host:
                found = await loopback(host)
                assert found.level == "warning"
                if identity.can_confine():
                    assert found.fix == "apt install nftables"
                    assert _warnings(caplog) == [
                        "guests reach this host's loopback, see `guest host check`: nft is not installed on this host"
                    ]
                    shutil.copy(kept, nft)
                    assert (await loopback(host)).level == "ok"
                    assert set(expected(house)) <= set(tables())
            assert table_of(house.home) not in tables()

    run_as(lambda: mount_small(Path("/usr/sbin"), "2m"), look)


@pytest.mark.parametrize("prepare", [lose_net_admin, become_nobody])
def test_without_the_right_the_house_opens_and_says_so(
    prepare: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    as_root = os.geteuid() == 0 and prepare is lose_net_admin

    async def look() -> None:
        async with open_host(house) as host:
            found = await loopback(host)
            assert found.level == "warning"
            assert "10.0.2.2" in found.found
            mends = "give the daemon the capability CAP_NET_ADMIN" if as_root else "run the daemon as root"
            assert found.fix == mends
            assert len(_warnings(caplog)) == as_root

    with a_house() as house:
        if not as_root and os.geteuid() == 0:
            os.chown(house.home, NOBODY, NOBODY)
        run_as(prepare if as_root else become_nobody, look)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# libslirp tells a refused datagram as "network unreachable", which a socket hears of only when it asks (IP_RECVERR).
IN_THE_GUEST = """
import errno, socket, sys
kind, address, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with socket.socket(socket.AF_INET, kind) as asking:
    asking.settimeout(600)
    asking.setsockopt(socket.IPPROTO_IP, 11, 1)
    try:
        asking.connect((address, port))
        asking.send(b"ask")
        print(asking.recv(6).decode(), end="")
    except OSError as error:
        print(errno.errorcode.get(error.errno, repr(error)), end="")
"""


@pytest.mark.vm
def test_a_guest_reaches_its_resolver_and_is_reached_and_that_is_all(alone: Any, micro_image: BuiltImage) -> None:
    places = ((TCP, "127.0.0.1", SERVICE), (TCP, OTHER, SERVICE), (UDP, OTHER, SERVICE), (UDP, "127.0.0.1", DNS))

    async def look() -> None:
        with a_house() as house:
            async with services(*places), open_host(house) as host:
                desired = wanted(image=publish(house, micro_image), power=Power.RUNNING)
                await converge(host, desired)
                seen = await until(host, desired, _is_configured)
                assert seen.process is not None
                # The last one is a forwarded port: its own, as good as one of another machine.
                for kind, address, port, answer, refusal in (
                    (UDP, "10.0.2.3", DNS, "answer", ""),
                    (UDP, OTHER, SERVICE, "answer", "ENETUNREACH"),
                    (TCP, OTHER, SERVICE, "answer", "ECONNREFUSED"),
                    (TCP, "10.0.2.2", SERVICE, "answer", "ECONNREFUSED"),
                    (TCP, "10.0.2.2", seen.process.ssh_port, "SSH-2.", "ECONNREFUSED"),
                ):
                    command = GuestCommand(("python3", "-c", IN_THE_GUEST, str(int(kind)), address, str(port)))
                    said = await host.guests.execute(desired.machine.id, command)
                    assert said.stdout.decode() == (refusal if refusal and identity.can_confine() else answer)
                reader, writer = await asyncio.open_connection("127.0.0.1", seen.process.ssh_port)
                async with asyncio.timeout(PATIENCE_S):
                    assert (await reader.readline()).startswith(b"SSH-2.0-")
                writer.close()

    alone(look)


def _is_configured(seen: Observed) -> bool:
    return seen.process is not None and seen.process.stage is Stage.CONFIGURED
