"""Calls in other namespaces: by a thread where our own rights do, else by a fork of this process.

Rules
-----
1. Who goes in never comes back: no other code ever runs inside by mistake. A socket or a device opened there stays
   there, whoever uses its descriptor later.
2. A thread cannot go into a user namespace: into that of an ordinary user goes a fork of this process, once, and stays
   there (`Envoy`). What is to be called is named to it over a socket; so comes back what that returns, values as they
   are, sockets and `Descriptor`s by the kernel's own passing.

Source: setns(2): a process with several threads may not change its user namespace; unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import array
import ctypes
import gc
import io
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from guesthouse.model.errors import Failed

Result = TypeVar("Result")
NEW_NET, NEW_USER, NEW_MOUNTS = 0x40000000, 0x10000000, 0x00020000
"""CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWNS of linux/sched.h."""
_BYTES, _DESCRIPTORS = 64 * 1024, 16
_CLOSE_ON_EXEC = socket.MSG_CMSG_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Descriptor(int):
    """A file descriptor, as a visit returns it: whoever called has it then, and closes it."""


def by_thread(go: Callable[[], None], function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, called by a thread that goes first."""
    return _Visit(go, function).result()


def by_child(go: Callable[[], None], function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, called by a fork of this process that goes first, and ends after it."""
    envoy = Envoy(go)
    try:
        return envoy.ask(function)
    finally:
        envoy.end()


class Envoy:
    """A fork of this process that has gone somewhere and does there what it is asked; it ends with us.

    It is there from the first time that it is asked, and again when it was lost.
    """

    def __init__(self, go: Callable[[], None]) -> None:
        self._go = go
        self._asking = threading.Lock()
        self._line: socket.socket | None = None
        self._pid = 0

    def ask(self, function: Callable[[], Result], net: Path | None = None) -> Result:
        """What `function`, which can be pickled, returns or raises there, or in the network namespace at `net`."""
        with self._asking:
            line = self._line or self._send_out()
            try:
                line.send(pickle.dumps((function, net)))
                data, descriptors = _receive(line)
            except ConnectionError:
                data, descriptors = b"", []
            if not data:
                self.end()
                raise Failed("who was sent to the user's namespace is lost", hint="try again: another one is sent")
        good, value = _Unpacker(data, descriptors).load()
        if not good:
            raise value
        result: Result = value
        return result

    def end(self) -> None:
        """Have it no more, until somebody asks."""
        if self._line is not None:
            self._line.close()
            self._line = None
            os.waitpid(self._pid, 0)

    def _send_out(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs, self._go)
        theirs.close()
        self._line = ours
        return ours


def go_into(path: Path, kind: int = NEW_NET) -> None:
    """Move this thread into the namespace at `path`; raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, kind):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)


def leave(kinds: int) -> None:
    """Have new namespaces of these kinds; raises `OSError`."""
    if _libc.unshare(kinds):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Visit(threading.Thread, Generic[Result]):
    def __init__(self, go: Callable[[], None], function: Callable[[], Result]) -> None:
        super().__init__(name="in a namespace")
        self._go, self._function = go, function
        self._returned: list[Result] = []
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._go()
            self._returned.append(self._function())
        except BaseException as error:
            self._raised = error

    def result(self) -> Result:
        self.start()
        self.join()
        if self._raised is not None:
            raise self._raised
        return self._returned[0]


def _serve(theirs: socket.socket, go: Callable[[], None]) -> None:
    """The fork's whole life: nothing of ours goes on in it, and nothing of ours is held by it when we end."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends with us, not before
        signal.set_wakeup_fd(-1)
        gc.disable()  # looking for garbage would copy all that we share
        os.closerange(3, theirs.fileno())
        os.closerange(theirs.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        refused: Exception | None = None
        try:
            go()
        except OSError as error:
            refused = error
        while asked := theirs.recv(_BYTES):
            packed = _Packer()
            packed.dump(_try(*pickle.loads(asked)) if refused is None else (False, refused))  # noqa: S301 - our own words
            socket.send_fds(theirs, [packed.data.getvalue()], packed.descriptors)
            for descriptor in packed.descriptors:
                os.close(descriptor)
    finally:
        os._exit(0)


def _try(function: Callable[[], object], net: Path | None) -> tuple[bool, object]:
    try:
        return True, function() if net is None else by_thread(partial(go_into, net), function)
    except Exception as error:
        return False, error


def _receive(ours: socket.socket) -> tuple[bytes, list[int]]:
    """What the fork said. `socket.recv_fds` leaves descriptors open for programs that are just being started."""
    numbers = array.array("i")
    data, passed, _, _ = ours.recvmsg(_BYTES, socket.CMSG_SPACE(_DESCRIPTORS * numbers.itemsize), _CLOSE_ON_EXEC)
    for _level, _kind, bytes_ in passed:
        numbers.frombytes(bytes_)
    return data, list(numbers)


class _Packer(pickle.Pickler):
    """Writes sockets and descriptors as their places among `descriptors`."""

    def __init__(self) -> None:
        self.data = io.BytesIO()
        self.descriptors: list[int] = []
        super().__init__(self.data)

    def persistent_id(self, obj: Any) -> tuple[type, int] | None:
        if not isinstance(obj, socket.socket | Descriptor):
            return None
        self.descriptors.append(obj.detach() if isinstance(obj, socket.socket) else int(obj))
        return type(obj), len(self.descriptors) - 1


class _Unpacker(pickle.Unpickler):
    """Reads what our own fork has written."""

    def __init__(self, data: bytes, descriptors: list[int]) -> None:
        super().__init__(io.BytesIO(data))
        self._descriptors = descriptors

    def persistent_load(self, pid: Any) -> object:
        kind, place = pid
        number = self._descriptors[place]
        if kind is Descriptor:
            return Descriptor(number)
        made = socket.socket(fileno=number)
        made.setblocking(os.get_blocking(number))
        return made
