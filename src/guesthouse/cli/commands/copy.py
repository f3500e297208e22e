"""`guest copy`: files into a guest and out of it, in pieces; folders as a tar stream.

Rules
-----
1. Exactly one side is in a guest: ``MACHINE:/absolute/path``. ``-`` is standard input or output.
2. A file that comes out is in its place when it is whole, not before.
3. A folder goes through a tar file in the guest's /tmp, which is removed in any case. What comes out of a guest is
   hostile: GNU tar refuses names that lead out of the target, and we take no owners and no modes above ours.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, NamedTuple

from guesthouse.cli.commands import files
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Failed, Invalid

_IN_GUEST = re.compile(r"^([A-Za-z0-9][A-Za-z0-9-]*):(.*)$", re.DOTALL)
_PIECE_BYTES = 256 * 1024


class Side(NamedTuple):
    """One side of a copy: a path in a machine, or here where `machine` is empty."""

    machine: str
    path: str


def copy(context: Context, row: Command, values: Values) -> int:
    """Copy a file or a folder into a machine or out of it."""
    source, target = side(values["source"]), side(values["target"])
    if bool(source.machine) == bool(target.machine):
        raise Invalid(
            "one side must be in a machine, and one side here",
            field="source",
            hint="write the machine's as MACHINE:/PATH, like `guest copy site.conf web:/etc/`",
        )
    recursive = bool(values.get("recursive"))
    if target.machine:
        (_put_folder if recursive else _put_file)(context, source.path, target)
    else:
        (_get_folder if recursive else _get_file)(context, source, target.path)
    if context.json and target.path != "-":
        context.give({"source": values["source"], "target": values["target"]}, "")
    return 0


def side(written: str) -> Side:
    """``web:/etc/motd`` or a path here; raises `Invalid` for a path in a guest that is not absolute."""
    match = _IN_GUEST.match(written)
    if match is None:
        return Side("", written)
    machine, path = match.groups()
    if not path.startswith("/"):
        raise Invalid(
            f"{written}: a path in a machine starts with /",
            field="path",
            value=path,
            hint=f"write it like {machine}:/root/{path or 'file'}; a file here with a colon like ./{written}",
        )
    return Side(machine, path)


def _files(machine: str) -> str:
    return f"/machines/{segment(machine)}/files"


def _put_file(context: Context, source: str, target: Side) -> None:
    here = Path(source)
    if source == "-" and target.path.endswith("/"):
        raise Invalid("standard input has no name to take in a folder", field="target", hint="name the file")
    if here.is_dir():
        raise Invalid(f"{source} is a folder", field="source", value=source, hint="add --recursive")
    path = target.path + (here.name if target.path.endswith("/") else "")
    if source == "-":
        context.door.write(_files(target.machine), {"path": path}, _pieces_of(context.terminal.byte_input))
        return
    with _open(here) as stream:
        mode = f"{os.fstat(stream.fileno()).st_mode & 0o777:04o}"
        context.door.write(_files(target.machine), {"path": path, "mode": mode}, _pieces_of(stream))


def _get_file(context: Context, source: Side, target: str) -> None:
    pieces = context.door.read(_files(source.machine), {"path": source.path})
    files.keep(context, pieces, target, PurePosixPath(source.path).name)


def _put_folder(context: Context, source: str, target: Side) -> None:
    here = Path(source)
    if not here.is_dir():
        raise Invalid(f"{source} is no folder", field="source", value=source, hint="leave --recursive out")
    with _passing_file(context, target.machine) as passing:
        packed = ["tar", "-C", str(here.resolve().parent), "-cf", "-", "--", here.resolve().name]
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
            assert tar.stdout is not None
            context.door.write(_files(target.machine), {"path": passing, "mode": "0600"}, _pieces_of(tar.stdout))
        if tar.returncode:
            raise Failed(f"tar could not read all of {source}", subject=source)
        _run(context, target.machine, "mkdir", "-p", target.path)
        _run(context, target.machine, "tar", "-x", "-C", target.path, "-f", passing)


def _get_folder(context: Context, source: Side, target: str) -> None:
    if not Path(target).is_dir():
        raise Invalid(f"{target} is no folder here", field="target", value=target, hint="make it first")
    folder = PurePosixPath(source.path)
    with _passing_file(context, source.machine) as passing:
        _run(context, source.machine, "tar", "-c", "-C", str(folder.parent), "-f", passing, folder.name or ".")
        unpack = ["tar", "-C", target, "-xf", "-", "--no-same-owner", "--no-same-permissions"]
        with subprocess.Popen(unpack, stdin=subprocess.PIPE) as tar:
            assert tar.stdin is not None
            for piece in context.door.read(_files(source.machine), {"path": passing}):
                tar.stdin.write(piece)
        if tar.returncode:
            raise Failed(f"tar could not unpack {source.path} into {target}", subject=target)


@contextlib.contextmanager
def _passing_file(context: Context, machine: str) -> Iterator[str]:
    """The path of a file in the guest through which a folder passes; it is gone afterwards."""
    path = f"/tmp/.guest-copy-{secrets.token_hex(8)}.tar"  # noqa: S108 - in the guest, and nobody can guess it
    try:
        yield path
    finally:
        _run(context, machine, "rm", "-f", path)


def _run(context: Context, machine: str, *argv: str) -> None:
    ended = context.door.ask("POST", f"/machines/{segment(machine)}/exec", None, {"argv": argv})
    if ended["exit_status"]:
        said = base64.b64decode(ended["stderr"]).decode(errors="replace").strip()
        raise Failed(f"{machine}: {' '.join(argv)}: {said}", subject=f"machine {machine}")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Invalid(f"{path}: {why}", field="source", value=str(path)) from None


def _pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE_BYTES):
        yield piece
