"""Going into namespaces for one call: by a thread where our own rights do, else by a child process.

Rules
-----
1. Who goes in ends there: no other code ever runs inside by mistake. A socket or a device opened there stays there,
   whoever uses its descriptor later.
2. A thread cannot go into a user namespace, so that of an ordinary user is visited by a fork of this process. What the
   call returns comes back over a socket: values as they are, sockets and `Descriptor`s by the kernel's own passing.

Source: setns(2): a process with several threads may not change its user namespace; unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import array
import ctypes
import io
import os
import pickle
import socket
import threading
from collections.abc import Callable
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
    """What `function` returns or raises, called by a fork of this process that goes first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        child = os.fork()
        if child == 0:
            _tell(theirs, go, function)
        theirs.close()
        try:
            data, descriptors = _receive(ours)
        finally:
            os.waitpid(child, 0)
    if not data:
        raise Failed("a visit to a namespace ended without a word")
    good, value = _Unpacker(data, descriptors).load()
    if not good:
        raise value
    result: Result = value
    return result


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


def _tell(theirs: socket.socket, go: Callable[[], None], function: Callable[[], object]) -> None:
    """The child's whole life: nothing of the parent's goes on in it."""
    try:
        try:
            go()
            told: tuple[bool, object] = (True, function())
        except Exception as error:
            told = (False, error)
        packed = _Packer()
        packed.dump(told)
        socket.send_fds(theirs, [packed.data.getvalue()], packed.descriptors)
    finally:
        os._exit(0)


def _receive(ours: socket.socket) -> tuple[bytes, list[int]]:
    """What the child said. `socket.recv_fds` leaves descriptors open for programs that are just being started."""
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
        self.descriptors.append(obj.fileno() if isinstance(obj, socket.socket) else int(obj))
        return type(obj), len(self.descriptors) - 1


class _Unpacker(pickle.Unpickler):
    """Reads what our own child has written."""

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
