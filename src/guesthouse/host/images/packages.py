"""Debian packages as files: chosen by apt's own solver, fetched from the host's own sources, unpacked.

Rules
-----
1. What is installed on this host is neither read nor changed: the solver starts from an empty system.
2. The host's package lists are used as they are; where they are missing or outdated, private ones are fetched.
3. A package is taken when its SHA-256 is that of the signed list, be it fresh or from the cache.
4. Root is not needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from guesthouse.host.processes import run
from guesthouse.model.errors import ChildFailed, Failed
from guesthouse.ports import Progress

_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
_STATUS = re.compile(r"dlstatus:[^:]*:(?P<percent>[0-9.]+):")
_HINT = "look at the host's package sources with `apt-get update`"


class Package(NamedTuple):
    """A package file as the package list has it."""

    name: str
    version: str
    file: str
    size_bytes: int
    sha256: str


class Apt:
    """apt with its state and cache in a folder of ours; `lists` None means the host's package lists."""

    def __init__(self, folder: Path, *, private_lists: bool) -> None:
        self.folder = folder
        self.private_lists = private_lists

    def _options(self) -> list[str]:
        cache = self.folder / "cache"
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State::status": "/dev/null",
            "Dir::Cache": str(cache),
            "APT::Install-Recommends": "false",
            # The sandbox user cannot write into a private folder; hashes are verified all the same.
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "SHA256",
            "Debug::NoLocking": "true",
        }
        if self.private_lists:
            (self.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            options["Dir::State::lists"] = str(self.folder / "lists")
        return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]

    async def update(self) -> None:
        """Fetch the package lists; a source that fails is no error as long as others have what we need."""
        await run(["apt-get", *self._options(), "update"], hint=_HINT)

    async def resolve(self, names: Sequence[str]) -> list[Package]:
        """These packages and all that they depend on, by name. Raises `ChildFailed` for an unknown one."""
        said = await run(["apt-get", *self._options(), "-y", "--print-uris", "install", *names], hint=_HINT)
        return sorted(_package(match) for match in _LINE.finditer(said.decode()))

    async def download(self, packages: Iterable[Package], folder: Path, on_line: Callable[[str], None]) -> None:
        """Fetch package files into a folder."""
        wanted = [f"{package.name}={package.version}" for package in packages]
        options = [*self._options(), "-o", "APT::Status-Fd=2"]
        await run(["apt-get", *options, "-q", "download", *wanted], cwd=folder, on_line=on_line, hint=_HINT)


def _package(match: re.Match[str]) -> Package:
    file = match["file"]
    name, version, _ = file.split("_", 2)
    return Package(name, unquote(version), file, int(match["size"]), match["sha256"])


async def fetch(
    names: Sequence[str], wanted: Callable[[str], bool], cache: Path, work: Path, progress: Progress
) -> dict[str, tuple[Package, Path]]:
    """Packages and their dependencies as files in `cache`, by name; of the dependencies those that are `wanted`.

    What is on its way lies in a new folder in `work`, which the caller removes if this process cannot.
    Raises `Failed` or `ChildFailed` when the host's sources do not have them.
    """
    progress("resolving packages")
    await asyncio.to_thread(_make, cache)
    try:
        return await _fetch(Apt(cache / "apt", private_lists=False), names, wanted, cache, work, progress)
    except ChildFailed:
        # No lists on this host, or lists that name files which the mirror no longer has.
        progress("fetching package lists")
    apt = Apt(cache / "apt", private_lists=True)
    await apt.update()
    return await _fetch(apt, names, wanted, cache, work, progress)


async def _fetch(
    apt: Apt, names: Sequence[str], wanted: Callable[[str], bool], cache: Path, work: Path, progress: Progress
) -> dict[str, tuple[Package, Path]]:
    packages = [package for package in await apt.resolve(names) if package.name in names or wanted(package.name)]
    files = {package.name: (package, cache / package.file) for package in packages}
    missing = [package for package, path in files.values() if not await asyncio.to_thread(_is_good, path, package)]
    if not missing:
        return files

    def show(line: str) -> None:
        if match := _STATUS.match(line):
            progress("downloading packages", float(match["percent"]))

    progress("downloading packages", 0)
    with tempfile.TemporaryDirectory(prefix="download-", dir=work) as folder:
        await apt.download(missing, Path(folder), show)
        for package in missing:
            fresh = Path(folder) / package.file
            if not await asyncio.to_thread(_is_good, fresh, package):
                raise Failed(f"{package.file} does not have the SHA-256 of the package list", hint=_HINT)
            await asyncio.to_thread(_put, fresh, cache / package.file)
    progress("downloading packages", 100)
    return files


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _put(fresh: Path, place: Path) -> None:
    # Work and cache may lie on different file systems, and another build may just read what is there.
    with tempfile.TemporaryDirectory(prefix=".put-", dir=place.parent) as folder:
        Path(shutil.move(fresh, folder)).replace(place)


def _is_good(path: Path, package: Package) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


async def unpack(files: Sequence[Path], tree: Path, progress: Progress) -> None:
    """Unpack package files into one tree without running their scripts."""
    await asyncio.to_thread(_make, tree)
    for number, file in enumerate(files):
        progress("unpacking packages", 100 * number / len(files))
        await run(["dpkg-deb", "-x", str(file), str(tree)])
    progress("unpacking packages", 100)


def remove(folder: Path) -> None:
    """Remove an unpacked tree, also where a package made a folder read-only."""
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
