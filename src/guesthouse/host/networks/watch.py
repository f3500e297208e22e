"""Who notices that a network is no longer as it was made: a rule flushed, a link gone, a name server dead.

Rules
-----
1. The kernel tells, over sockets opened in each namespace and on the host. Nothing is looked at as long as nothing is
   told.
2. What is told is a hint: whoever gets it looks at the network. Our own changes are told too, and cost one look.
3. That a TAP is gone is none: its machine has ended. So what is lost of a link that is no more is passed over, unless
   the network itself is made of it.
4. Messages that the kernel had to drop (ENOBUFS) are a hint to look at everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from guesthouse.formats import netlink
from guesthouse.host.machines.process import Process
from guesthouse.host.networks.namespace import HOST, Ground, Namespace

_LOG = logging.getLogger(__name__)
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_KIND = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_BYTES = 64 * 1024


def listen(family: int, groups: int) -> socket.socket:
    """A socket on which the kernel tells of this thread's network."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_NETLINK, _KIND, family))
        listener.bind((0, groups))
        stack.pop_all()
    return listener


@dataclass
class _Attended:
    inode: int
    namespace: Namespace
    own: frozenset[int] = frozenset()
    """Indexes of the links that the network is made of."""
    sockets: list[socket.socket] = field(default_factory=list)
    server: Process | None = None
    mourner: asyncio.Task[None] | None = None


class Watch:
    """Listens for what is lost, and says of what: `hint` gets the network's id, and whether its rules alone."""

    def __init__(self, tasks: asyncio.TaskGroup, hint: Callable[[str, bool], None], ground: Ground = HOST) -> None:
        self._tasks, self._hint, self._ground = tasks, hint, ground
        self._loop = asyncio.get_running_loop()
        self._attended: dict[str, _Attended] = {}
        self._host: list[socket.socket] = []
        self._links: dict[int, str] = {}

    def attend_host(self) -> None:
        """Listen on the host itself; the id in its hints about rules is "". Without the right there are no hints."""
        try:
            sockets = self._ground.visit(_listen_to_all)
        except OSError as error:
            # Who may not listen can have no networks either, which `guest host check` says.
            _LOG.info("nobody tells of changed links and rules: %s", error)
            return
        self._host = sockets
        self._loop.add_reader(sockets[0], self._host_links, sockets[0])
        self._loop.add_reader(sockets[1], self._host_rules, sockets[1])

    def attend(self, network: str, link: str, namespace: Namespace, server: Process | None) -> None:
        """Listen in a namespace, and for the end of its name server; it may be another one than before."""
        with contextlib.suppress(OSError):  # it is just going
            self._links[self._ground.visit(partial(socket.if_nametoindex, link))] = network
        found = self._attended.get(network)
        if found is None or found.inode != namespace.inode():
            self.leave(network)
            sockets = namespace.enter(_listen_to_all)
            found = self._attended[network] = _Attended(namespace.inode(), namespace, sockets=sockets)
            links, rules = found.sockets
            self._loop.add_reader(links, self._inside_links, network, found)
            self._loop.add_reader(rules, self._inside_rules, network, rules)
        found.own = namespace.enter(_own)
        if server is not found.server:
            if found.mourner is not None:
                found.mourner.cancel()
            found.server = server
            found.mourner = self._tasks.create_task(self._mourn(network, server)) if server else None

    def leave(self, network: str) -> None:
        """Listen no more; not at all is as good."""
        self._links = {index: each for index, each in self._links.items() if each != network}
        found = self._attended.pop(network, None)
        if found is not None:
            self._close(found.sockets)
            if found.mourner is not None:
                found.mourner.cancel()

    def close(self) -> None:
        """Leave all."""
        for network in tuple(self._attended):
            self.leave(network)
        self._close(self._host)
        self._host = []

    def _close(self, sockets: list[socket.socket]) -> None:
        for each in sockets:
            self._loop.remove_reader(each)
            each.close()

    async def _mourn(self, network: str, server: Process) -> None:
        await server.ended.wait()
        self._hint(network, False)

    def _host_links(self, listener: socket.socket) -> None:
        data = _read(listener)
        lost = set(self._links.values()) if data is None else set(map(self._links.get, netlink.disturbed(data)))
        for network in lost - {None}:
            self._hint(network or "", False)

    def _host_rules(self, listener: socket.socket) -> None:
        data = _read(listener)
        if data is None or netlink.TABLE_LOST in {kind for kind, _ in netlink.messages(data)}:
            self._hint("", True)

    def _inside_links(self, network: str, found: _Attended) -> None:
        data = _read(found.sockets[0])
        lost = set() if data is None else netlink.disturbed(data)
        if data is None or lost & found.own or (lost and found.namespace.enter(partial(_any_is_there, lost))):
            self._hint(network, False)

    def _inside_rules(self, network: str, listener: socket.socket) -> None:
        data = _read(listener)
        if data is None or netlink.RULES_CHANGED in {kind for kind, _ in netlink.messages(data)}:
            self._hint(network, True)


def _listen_to_all() -> list[socket.socket]:
    return [listen(_NETLINK_ROUTE, netlink.LINK_GROUPS), listen(_NETLINK_NETFILTER, netlink.RULE_GROUPS)]


def _own() -> frozenset[int]:
    """The links here that are no machine's."""
    return frozenset(index for index, name in socket.if_nameindex() if not name.startswith("tap"))


def _any_is_there(indexes: Iterable[int]) -> bool:
    for index in indexes:
        with contextlib.suppress(OSError):
            socket.if_indextoname(index)
            return True
    return False


def _read(listener: socket.socket) -> bytes | None:
    """What was told; None where something may have been missed."""
    try:
        return listener.recv(_BYTES)
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            return None
        raise
