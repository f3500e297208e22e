"""The composition root: the one file that knows everyone.

Rules
-----
1. One daemon a house: whoever holds `House.lock` is it. A second one is refused before it touches anything.
2. Things are opened in the order lock, sockets, store, host, engine, door, and closed the other way round: who
   connects early waits in a socket's queue. Machines are not closed: they run on, and the next daemon finds them.
3. SIGTERM and SIGINT end the daemon cleanly; SIGKILL does no harm either.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import msgspec

from guesthouse.doors.ec2.server import serve as serve_ec2
from guesthouse.doors.keeper import Keeper, Serve, keeping
from guesthouse.doors.metadata.identity import Identity as MetadataIdentity
from guesthouse.doors.metadata.server import serve as serve_metadata
from guesthouse.doors.native import certificates
from guesthouse.doors.native.certificates import Certificate
from guesthouse.doors.native.listeners import Listener, bind_tcp, bind_unix
from guesthouse.doors.native.server import serve as serve_native
from guesthouse.engine.engine import Engine, never_stop, open_engine
from guesthouse.engine.hosts import Identity
from guesthouse.engine.register import MachineRegister
from guesthouse.host import metadata_keys
from guesthouse.host.durable import write_whole
from guesthouse.host.keys import HouseKeyring
from guesthouse.host.local import open_host
from guesthouse.host.networks.local import clean
from guesthouse.model.errors import Conflict, Failed, Invalid, NoCapacity
from guesthouse.model.hosts import FIRST_HOST
from guesthouse.model.house import House
from guesthouse.model.settings import Settings
from guesthouse.ports import Checkpoint, MetadataDoor
from guesthouse.store import SqlStore, open_store
from guesthouse.store.moving import move

log = logging.getLogger("guesthouse")


@dataclass(frozen=True)
class Options:
    """What `guest serve` may be told. `listen` is HOST:PORT, `database` a URL; empty is the house's own way.

    With `no_networks` the daemon changes nothing of its host's network: machines have user-mode networks alone.
    """

    listen: str = ""
    certificate: str = ""
    private_key: str = ""
    database: str = ""
    no_networks: bool = False


def serve(house: House, values: Mapping[str, Any]) -> None:
    """Run the daemon of `house` until it is told to stop; raises `GuesthouseError` when it cannot start."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    options = Options(**{name: value for name, value in values.items() if value})
    asyncio.run(run_until_told(house, options, never_stop))


def upgrade_house(house: House, url: str, say: Callable[[str, int], None]) -> int:
    """Move the records of an embedded house to another database, for good; how many there were.

    Machines run on, and the next daemon finds them. Raises `Conflict` while there is a daemon, or where the house
    or the database is another one's already.
    """
    with locked(house):
        if _settings(house).database:
            raise Conflict(
                f"the house {house.home} is not embedded any more",
                subject=f"house {house.home}",
                field="to",
                hint=f"its database is told in {house.settings}",
            )
        if not house.database.exists():
            raise Conflict(
                f"the house {house.home} has no records yet",
                subject=f"house {house.home}",
                field="to",
                hint="`guest serve --database URL` begins one there",
            )
        moved = asyncio.run(move(f"sqlite:///{house.database}", url, say))
        write_whole(house.settings, msgspec.json.encode(Settings(database=url)))
        # So that nobody begins there again by mistake.
        house.database.rename(house.database.with_suffix(".db.moved"))
        return moved


def _settings(house: House) -> Settings:
    if not house.settings.exists():
        return Settings()
    try:
        return msgspec.json.decode(house.settings.read_bytes(), type=Settings)
    except msgspec.MsgspecError as error:
        raise Failed(
            f"{house.settings} cannot be read: {error}", subject=f"house {house.home}", hint="restore it from a backup"
        ) from error


def clean_networks(house: House) -> list[str]:
    """Remove the networks of a house that has no daemon from this box, and say what there was; raises `Conflict`."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(house))
        except Conflict as error:
            said = f"{error}: its networks are in use"
            hint = "stop it first (`systemctl stop guesthouse`, or end the process); machines run on meanwhile"
            raise Conflict(said, subject=error.subject, hint=hint) from error
        return asyncio.run(clean(house))


async def run_until_told(house: House, options: Options, checkpoint: Checkpoint) -> None:
    """The daemon, until SIGTERM or SIGINT; a test may stop it short at a checkpoint."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with open_house(house, options, checkpoint) as addresses:
        gc.freeze()  # what is loaded now stays: looking through it for garbage takes milliseconds of somebody's start
        log.info("the house %s is open at %s", house.home, ", ".join(addresses))
        _notify_systemd("READY=1")
        await told.wait()
        _notify_systemd("STOPPING=1")
    log.info("the house is closed; machines run on")


@asynccontextmanager
async def open_house(
    house: House, options: Options | None = None, checkpoint: Checkpoint = never_stop
) -> AsyncIterator[list[str]]:
    """A house at work, until the block ends; yields the addresses at which it answers."""
    options = options or Options()
    with locked(house), contextlib.ExitStack() as stack:
        listeners = [bind_unix(house.socket), *_over_tls(house, options)]
        for listener in listeners:
            stack.callback(listener.close)
        async with (
            _opened(house, options, checkpoint) as engine,
            keeping(_keeper(house, engine)) as clouds,
            serve_native(engine, listeners, clouds),
        ):
            yield [str(house.socket), *(f"https://{options.listen}" for _ in listeners[1:])]


def _keeper(house: House, engine: Engine) -> Keeper:
    """Who opens the doors of clouds: one line each."""

    def certificate(host: str) -> Certificate:
        return certificates.ensure(house.home / "tls", _names(host))

    doors: dict[str, Serve] = {"ec2": partial(serve_ec2, engine)}
    return Keeper(doors, certificate, house.doors, write_whole)


@asynccontextmanager
async def _opened(house: House, options: Options, checkpoint: Checkpoint) -> AsyncIterator[Engine]:
    url = options.database or _settings(house).database or f"sqlite:///{house.database}"
    async with (
        open_store(url) as store,
        _metadata(house, store) as metadata,
        open_host(house, metadata=metadata, networks=not options.no_networks) as host,
    ):
        identity = _identity(house)
        async with open_engine(store, host, house, identity, SystemRandom(), checkpoint) as engine:
            yield engine


@asynccontextmanager
async def _metadata(house: House, store: SqlStore) -> AsyncIterator[MetadataDoor]:
    """The metadata service; the host opens it on the networks that there are."""
    register = MachineRegister(store, store, HouseKeyring(house.keys))
    signer = MetadataIdentity(lambda: metadata_keys.identity_key(house.metadata, datetime.now(UTC)))
    async with serve_metadata(register, metadata_keys.session_secret(house.metadata), signer) as service:
        yield service


def _identity(house: House) -> Identity:
    """Who this daemon is: the host of an embedded house."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    box = Path("/etc/machine-id")
    seat = f"{box.read_text().strip() if box.exists() else socket.gethostname()}:{house.home}"
    return Identity(FIRST_HOST, boot_id, socket.gethostname(), seat, secrets.token_hex(8))


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Be the one daemon of this house; raises `Conflict` while another one is, `NoCapacity` without a place."""
    try:
        for folder in (house.home, house.runtime):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(house.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoCapacity(
            f"the house cannot be kept in {house.home}: {error.strerror}",
            field="GUESTHOUSE_HOME",
            value=str(house.home),
            hint="make it writable for this user, or name another folder in GUESTHOUSE_HOME",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(descriptor, 32, 0).decode().strip()
            raise Conflict(
                f"the house {house.home} has a daemon already (process {pid})",
                field="GUESTHOUSE_HOME",
                value=str(house.home),
                hint="use that one, or name another folder in GUESTHOUSE_HOME for a second house",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _over_tls(house: House, options: Options) -> list[Listener]:
    if not options.listen and (options.certificate or options.private_key):
        raise Invalid(
            "a certificate is for an address to listen at, and none is named",
            field="listen",
            hint="add --listen HOST:PORT",
        )
    if not options.listen:
        return []
    name, _, port = options.listen.rpartition(":")
    name = name.strip("[]")
    if not name or not port.isdigit() or int(port) > 65535:
        raise Invalid(
            f"{options.listen!r} is no address to listen at",
            field="listen",
            value=options.listen,
            hint="write it like 0.0.0.0:8443 or [::]:8443",
        )
    listener = bind_tcp(name, int(port), _certificate(house, options, name))
    return [listener]


def _certificate(house: House, options: Options, name: str) -> Certificate:
    if bool(options.certificate) != bool(options.private_key):
        raise Invalid(
            "a certificate and its private key go together",
            field="certificate",
            hint="name both --certificate and --private-key, or neither",
        )
    if options.certificate:
        return Certificate(Path(options.certificate), Path(options.private_key))
    certificate = certificates.ensure(house.home / "tls", _names(name))
    log.info("the certificate's fingerprint is %s", certificate.fingerprint)
    return certificate


def _names(host: str) -> list[str]:
    """What the house's own certificate stands for."""
    return sorted({host, socket.gethostname(), "localhost", "127.0.0.1"})


def _notify_systemd(state: str) -> None:
    """Tell a service manager how we are, where there is one; see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
        try:
            messenger.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except FileNotFoundError:
            log.debug("nobody listens at %s any more", address)
        except OSError as error:
            log.warning("cannot notify %s: %s", address, error)
