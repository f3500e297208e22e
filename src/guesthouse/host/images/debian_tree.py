"""A Debian root file system as a tar archive, made by mmdebstrap, kept in a cache by what it is made of.

Rules
-----
1. The archive depends on the recipe, the sources and nothing else of this host; its name in the cache is a digest
   of both. A finished one is used again for `FRESH_S`, so that a rebuilt image has the security updates of the week.
2. It is made as root, as an unprivileged user in a user namespace, or with fakechroot: whichever this host allows.
3. An archive appears whole or not at all. One process at a time fills a cache; it removes what a killed one left.

Source: mmdebstrap(1), section MODES.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guesthouse.formats import apt
from guesthouse.host import durable
from guesthouse.host.processes import run
from guesthouse.model.errors import ChildFailed, Conflict, Failed
from guesthouse.ports import Progress

FRESH_S = 7 * 86400
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_HINT = "look at the host's package sources with `apt-get update`"
_REMOVALS = 3
_ROOMY = Path("/var/tmp")  # noqa: S108 - folders with random names are made in it


@dataclass(frozen=True)
class TreeRecipe:
    """What goes into the root file system: packages, paths that dpkg leaves out, and commands run at the end.

    A command is given to `sh`, the root folder in ``$1``.
    """

    release: str
    packages: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    finally_run: tuple[str, ...] = ()


async def host_sources(release: str) -> tuple[apt.Source, ...]:
    """Debian's package sources of this host, read by apt itself from all its files."""
    listing = await run(["apt-get", "indextargets", "Identifier: Packages"], hint=_HINT)
    return apt.debian_sources(listing.decode(), release)


async def root_tar(recipe: TreeRecipe, sources: tuple[apt.Source, ...], cache: Path, progress: Progress) -> Path:
    """The archive, from the cache or made now. Raises `Conflict` while another makes one, `Failed` or `ChildFailed`."""
    path = cache / f"debian-{_digest(recipe, sources)}.tar"
    if await asyncio.to_thread(_is_fresh, path):
        return path
    settings = apt.transport_settings((await run(["apt-config", "dump"])).decode())
    mode = await _mode()
    phase, meter = f"installing packages ({mode})", Meter()

    def show(line: str) -> None:
        if (percent := meter.read(line)) is not None:
            progress(phase, percent)

    async with _working_folder(cache) as work:
        progress(phase, 0)
        made = work / "root.tar"
        await run(
            _argv(recipe, mode, settings, made),
            stdin=apt.one_line(sources).encode(),
            environment=_environment(work),
            on_line=show,
            hint=_HINT,
        )
        await asyncio.to_thread(_keep, made, path)
    return path


def _is_fresh(path: Path) -> bool:
    return path.exists() and time.time() - path.stat().st_mtime < FRESH_S


def _keep(made: Path, path: Path) -> None:
    """Put the archive into the cache, in place of older ones."""
    beside = path.with_name(f".{path.name}.partial")
    shutil.copyfile(made, beside)
    durable.put_in_place(beside, path)
    for outdated in set(path.parent.glob("debian-*.tar")) - {path}:
        outdated.unlink()


def _argv(recipe: TreeRecipe, mode: str, settings: tuple[str, ...], target: Path) -> list[str]:
    return [
        *("mmdebstrap", "--verbose", f"--mode={mode}", "--variant=minbase", "--format=tar"),
        f"--include={','.join(recipe.packages)}",
        *(f"--aptopt={setting}" for setting in settings),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.left_out),
        *(f"--dpkgopt=path-include={pattern}" for pattern in recipe.kept),
        *(f"--customize-hook={command}" for command in recipe.finally_run),
        *(recipe.release, str(target), "-"),
    ]


def _environment(work: Path) -> dict[str, str]:
    proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    return {"TMPDIR": str(work), "HOME": "/root" if os.geteuid() == 0 else os.environ.get("HOME", "/"), **proxies}


def _digest(recipe: TreeRecipe, sources: tuple[apt.Source, ...]) -> str:
    return hashlib.sha256(repr((recipe, sources)).encode()).hexdigest()[:16]


async def _mode() -> str:
    """How mmdebstrap can work here."""
    if os.geteuid() == 0:
        return "root"
    if await _works("mmdebstrap", "--unshare-helper", "true"):
        return "unshare"
    if shutil.which("fakechroot") and shutil.which("fakeroot"):
        return "fakechroot"
    raise Failed(
        "this user may not make user namespaces, and fakechroot is not installed",
        subject="image debian",
        hint="`sudo apt install uidmap fakechroot fakeroot`, or build as root",
    )


async def _works(*argv: str) -> bool:
    try:
        await run(argv)
    except ChildFailed:
        return False
    return True


@contextlib.asynccontextmanager
async def _working_folder(cache: Path) -> AsyncIterator[Path]:
    """A folder for mmdebstrap, on a real disk, that other user ids of a user namespace can reach too."""
    prefix = _prefix(cache)
    with _alone(cache):
        for left in await asyncio.to_thread(_left_behind, prefix):
            await _remove(left)
        path = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=prefix, dir=_ROOMY))
        await asyncio.to_thread(path.chmod, 0o711)
        try:
            yield path
        finally:
            await asyncio.shield(_remove(path))


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the cache; its lock goes with this process, however it ends."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "debian.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                "another build is installing the packages of this image",
                subject="image debian",
                hint="try again when it is done: then they are in the cache",
            ) from error
        yield


def _prefix(cache: Path) -> str:
    """How the names of a cache's working folders begin."""
    return f"guesthouse-{hashlib.sha256(bytes(cache.absolute())).hexdigest()[:12]}-"


def _left_behind(prefix: str) -> list[Path]:
    return [path for path in _ROOMY.glob(f"{prefix}*") if path.lstat().st_uid == os.geteuid()]


async def _remove(path: Path) -> None:
    """Remove what mmdebstrap left: files of foreign user ids can only be removed in such a namespace."""
    for _ in range(_REMOVALS):
        if os.geteuid() != 0 and shutil.which("newuidmap"):
            for left in await asyncio.to_thread(lambda: list(path.glob("mmdebstrap.*"))):
                await _works("mmdebstrap", "--unshare-helper", "rm", "-rf", "--one-file-system", str(left))
        if await _works("rm", "-rf", "--one-file-system", "--", str(path)):
            return


class Phase(NamedTuple):
    """A part of mmdebstrap's work: the line it starts with, its share of the time, and the lines that count."""

    starts_with: str
    from_percent: float
    to_percent: float
    counted: re.Pattern[str] | None = None
    lines_per_package: int = 1


PHASES = (
    Phase("I: running apt-get update", 0, 4),
    Phase("I: downloading packages with apt", 4, 12, re.compile(r"Get:\d+ ")),
    Phase("I: extracting archives", 12, 16),
    Phase("I: installing essential packages", 16, 30, re.compile(r"(Unpacking|Setting up) "), 2),
    Phase("I: installing remaining packages", 30, 92, re.compile(r"(Get:\d+|Unpacking|Setting up) "), 3),
    Phase("I: creating tarball", 92, 100),
    Phase("I: success", 100, 100),
)
_ANNOUNCED = re.compile(r" (\d+) newly installed,")


class Meter:
    """Reads what mmdebstrap and apt say and tells how far they are, in percent."""

    def __init__(self) -> None:
        self._phase = PHASES[0]
        self._lines = 0
        self._packages = 1

    def read(self, line: str) -> float | None:
        """The percentage after this line; None when the line says nothing about it."""
        for phase in PHASES:
            if line.startswith(phase.starts_with):
                self._phase, self._lines = phase, 0
                return phase.from_percent
        if announced := _ANNOUNCED.search(line):
            self._packages = max(1, int(announced[1]))
        if self._phase.counted is None or not self._phase.counted.match(line):
            return None
        self._lines += 1
        done = min(1.0, self._lines / (self._packages * self._phase.lines_per_package))
        return self._phase.from_percent + (self._phase.to_percent - self._phase.from_percent) * done
