"""Doors that are opened and shut while the daemon runs: those of the clouds.

Rules
-----
1. Which doors are open, and where, is written down in the house: the next daemon opens them again.
2. A door is bound before it is written down: who asks for an address that cannot be had is told so at once.
3. Without TLS a door listens on the host's own loopback alone: signatures keep no secrets from who reads along.
4. A door that cannot be opened at the daemon's start is said in its log and in what `doors` tells; all else goes on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import msgspec

from guesthouse.doors.native.certificates import Certificate
from guesthouse.model.dialect import OpenDoor
from guesthouse.model.errors import Conflict, GuesthouseError, Invalid, NotFound

_BACKLOG = 256
_log = logging.getLogger(__name__)

Serve = Callable[[socket.socket, Path | None, Path | None], AbstractAsyncContextManager[None]]
"""Serves at a socket, with a certificate's chain and key or without."""


class Keeper:
    """Opens and shuts doors; one at a time."""

    def __init__(
        self,
        serving: Mapping[str, Serve],
        certificate: Callable[[str], Certificate],
        path: Path,
        write: Callable[[Path, bytes], None],
    ) -> None:
        self._serving = serving
        self._certificate = certificate
        self._path = path
        self._write = write
        self._turn = asyncio.Lock()
        self._open: dict[str, tuple[OpenDoor, AsyncExitStack]] = {}
        self._broken: dict[str, OpenDoor] = {}

    def doors(self) -> Sequence[OpenDoor]:
        """The doors that are to be open, by their names."""
        known = {**self._broken, **{name: door for name, (door, _) in self._open.items()}}
        return [known[name] for name in sorted(known)]

    def show(self, name: str) -> OpenDoor:
        """One door; raises `NotFound` while it is shut."""
        self._check(name)
        for door in self.doors():
            if door.name == name:
                return door
        raise NotFound(f"the door {name} is shut", subject=f"door {name}", hint=f"`guest {name} enable` opens it")

    async def open(self, name: str, listen: str, *, tls: bool) -> OpenDoor:
        """Open a door, elsewhere if it is open already; raises `Invalid` or `Conflict`, and leaves all as it was."""
        self._check(name)
        async with self._turn:
            if name in self._open and (there := self._open[name][0]).listen == listen and there.tls == tls:
                return there
            wanted = OpenDoor(name=name, listen=listen, tls=tls)
            door, stack = await (self._instead(wanted) if self._has(name, listen) else self._serve(wanted))
            if name in self._open:
                await self._open[name][1].aclose()
            self._broken.pop(name, None)
            self._open[name] = door, stack
            self._save()
            return door

    async def shut(self, name: str) -> None:
        """Shut a door; it may be shut already."""
        self._check(name)
        async with self._turn:
            self._broken.pop(name, None)
            if name in self._open:
                await self._open.pop(name)[1].aclose()
            self._save()

    async def open_again(self) -> None:
        """Open the doors that were open when the last daemon ended."""
        for door in self._saved():
            try:
                self._open[door.name] = await self._serve(door)
            except GuesthouseError as error:
                _log.warning("the door %s stays shut: %s", door.name, error)
                self._broken[door.name] = msgspec.structs.replace(door, error=str(error))

    async def close(self) -> None:
        """Shut all doors; what is written down stays."""
        async with self._turn:
            while self._open:
                await self._open.popitem()[1][1].aclose()

    def _has(self, name: str, listen: str) -> bool:
        return name in self._open and self._open[name][0].listen == listen

    async def _instead(self, wanted: OpenDoor) -> tuple[OpenDoor, AsyncExitStack]:
        """Serve at an address that the door has already: it is shut first, and opened again where that fails."""
        before, stack = self._open.pop(wanted.name)
        await stack.aclose()
        try:
            return await self._serve(wanted)
        except GuesthouseError:
            self._open[wanted.name] = await self._serve(before)
            raise

    async def _serve(self, door: OpenDoor) -> tuple[OpenDoor, AsyncExitStack]:
        host, port = _address(door.listen)
        if not door.tls and not ip_address(host).is_loopback:
            raise Invalid(
                f"{door.listen} is not on this host's loopback", field="listen", value=door.listen,
                hint="add --tls, or listen at 127.0.0.1",
            )  # fmt: skip
        certificate = await asyncio.to_thread(self._certificate, host) if door.tls else None
        async with AsyncExitStack() as stack:
            listener = _bind(host, port, door.listen)
            stack.callback(listener.close)
            chain, key = (certificate.chain, certificate.key) if certificate else (None, None)
            await stack.enter_async_context(self._serving[door.name](listener, chain, key))
            bound = listener.getsockname()[1]
            listen = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
            return OpenDoor(name=door.name, listen=listen, tls=door.tls, certificate=str(chain or "")), stack.pop_all()
        raise AssertionError("the stack swallows nothing")

    def _check(self, name: str) -> None:
        if name not in self._serving:
            raise NotFound(
                f"there is no door {name!r}", field="door", value=name, hint=f"there is {', '.join(self._serving)}"
            )

    def _saved(self) -> list[OpenDoor]:
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=list[OpenDoor])
        except FileNotFoundError:
            return []
        except msgspec.DecodeError as error:
            _log.warning("%s cannot be read, no cloud's door is opened: %s", self._path, error)
            return []
        return [door for door in saved if door.name in self._serving]

    def _save(self) -> None:
        self._write(self._path, msgspec.json.encode(self.doors()))


@asynccontextmanager
async def keeping(keeper: Keeper) -> AsyncIterator[Keeper]:
    """The keeper with the doors that were open, until the block ends."""
    try:
        await keeper.open_again()
        yield keeper
    finally:
        await keeper.close()


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    try:
        if not port.isdigit() or int(port) > 65535:
            raise ValueError(port)
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise Invalid(
            f"{listen!r} is no address to listen at", field="listen", value=listen,
            hint="write it like 127.0.0.1:8773 or [::1]:8773",
        ) from None  # fmt: skip


def _bind(host: str, port: int, listen: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Conflict(
            f"cannot listen at {listen}: {error.strerror or error}", subject=f"address {listen}", field="listen",
            value=listen, hint="choose another address or port",
        ) from error  # fmt: skip
