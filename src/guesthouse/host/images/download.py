"""Download of large files: streamed, limited, resumed, verified; then, and only then, there.

Rules
-----
1. The file appears under its name in one step, whole, durable and with the right sum. Until then it is a
   `partial` file beside it.
2. A broken connection is taken up again at once, and by the next call after a kill, as long as the server still
   has the same version; each time must bring new bytes, and `RESUMES` is the most.
3. The size is limited while it flows, whatever the server announces.
4. http, https and file alike; what else may be asked is the business of `web.Reach`.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from guesthouse.formats.checksum import Checksum
from guesthouse.host.images import intake, partial, web
from guesthouse.host.images.partial import Partial
from guesthouse.host.images.web import Reach
from guesthouse.model.errors import Failed, Invalid, NoCapacity
from guesthouse.ports import Progress

RESUMES = 50
_MIB = 1 << 20
_COPY_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_ANYWHERE = Reach()


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A finished download; `resumed_at` is the number of bytes that an earlier call had left."""

    path: Path
    file_bytes: int
    checksum: Checksum
    resumed_at: int


async def download(
    url: str,
    destination: Path,
    *,
    checksum: Checksum | None = None,
    limit_bytes: int = 1 << 40,
    reach: Reach = _ANYWHERE,
    progress: Progress,
) -> Downloaded:
    """Fetch `url` to `destination`, going on with what an earlier call left.

    Raises `Invalid` for a wrong URL, checksum or size, `NotFound`, `Denied` for an address out of reach,
    `NoCapacity` on a full disk, `TimedOut` when nothing comes any more, `Conflict` while another downloads
    it, `Failed` for all else on the way.
    """
    parsed = web.parse(url)
    async with partial.opened(destination, url, checksum) as file:
        resumed_at = file.size
        meter = _Meter(progress)
        if parsed.scheme == "file":
            await _copy(parsed, file, limit_bytes, reach, meter)
        else:
            await _transfer(url, file, limit_bytes, reach, meter)
        total = await file.finish()
        return Downloaded(destination, file.size, total, resumed_at)


async def fetch(url: str, *, limit_bytes: int, reach: Reach = _ANYWHERE) -> bytes:
    """A small document; errors as of `download`."""
    data = bytearray()
    with web.explained(url):
        async with web.client(reach) as client, web.get(client, url, reach) as response:
            async for piece in response.aiter_raw():
                data += piece
                if len(data) > limit_bytes:
                    raise _too_large(url, limit_bytes)
    return bytes(data)


class _Meter:
    """Tells the progress in steps that a reader can see: a tenth of a percent, or a MiB."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = -1

    def show(self, done_bytes: int, total_bytes: int | None) -> None:
        step = 1000 * done_bytes // max(1, total_bytes) if total_bytes is not None else done_bytes // _MIB
        if step == self._last:
            return
        self._last = step
        if total_bytes is None:
            self._progress(f"downloading, {step} MiB", None)
        else:
            self._progress("downloading", min(100.0, step / 10))


async def _transfer(url: str, file: Partial, limit_bytes: int, reach: Reach, meter: _Meter) -> None:
    """Ask until all is there; a connection that broke after it brought something is tried again."""
    async with web.client(reach) as client:
        for _ in range(RESUMES):
            before = file.size
            try:
                if await _ask(client, url, file, limit_bytes, reach, meter):
                    return
            except httpx.TransportError as error:
                if file.size <= before or not file.validator:
                    raise web.explain(error, url) from error
    raise Failed(
        f"{web.shown(url)} broke the connection {RESUMES} times",
        subject=web.shown(url),
        hint="run it again: it goes on where it stopped",
    )


async def _ask(
    client: httpx.AsyncClient, url: str, file: Partial, limit_bytes: int, reach: Reach, meter: _Meter
) -> bool:
    """One request, for the rest of the same version, else for the whole; False when it must be asked anew."""
    headers = {"Range": f"bytes={file.size}-", "If-Range": file.validator} if file.size else None
    async with web.get(client, url, reach, headers) as response:
        total = _announced(response)
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and total == file.size:
            return True  # all of it was there already
        if not _continues(response, file.size):
            await file.begin(_validator(response))
            if response.status_code != httpx.codes.OK:
                return False
        _check_size(url, file, total, limit_bytes)
        meter.show(file.size, total)
        async for piece in response.aiter_raw():
            await file.add(piece)
            if file.size > limit_bytes:
                raise _too_large(url, limit_bytes)
            meter.show(file.size, total)
    return True


def _continues(response: httpx.Response, size: int) -> bool:
    """Whether the answer is the rest that was asked for; 200 means that the file has changed."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return (
        response.status_code == httpx.codes.PARTIAL_CONTENT and size > 0 and found is not None and found[1] == str(size)
    )


def _announced(response: httpx.Response) -> int | None:
    """The length of the whole file, where the server tells it."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    text = found[2] if found else response.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _validator(response: httpx.Response) -> str:
    """What names this version: a strong ETag, else the time of its last change."""
    etag: str = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    changed: str = response.headers.get("last-modified", "")
    return changed


def _check_size(url: str, file: Partial, total: int | None, limit_bytes: int) -> None:
    if total is None:
        return
    if total > limit_bytes:
        raise _too_large(url, limit_bytes)
    file_system = os.statvfs(file.path.parent)
    free = file_system.f_bavail * file_system.f_frsize
    if total - file.size > free:
        raise NoCapacity(
            f"{web.shown(url)} needs {(total - file.size) // _MIB} MiB more in {file.path.parent}; "
            f"{free // _MIB} MiB are free",
            subject=web.shown(url),
            hint="make room and run it again",
        )


def _too_large(url: str, limit_bytes: int) -> Invalid:
    return Invalid(
        f"{web.shown(url)} has more than {limit_bytes} bytes, the limit",
        subject=web.shown(url),
        field="size",
        value=limit_bytes,
    )


async def _copy(url: httpx.URL, file: Partial, limit_bytes: int, reach: Reach, meter: _Meter) -> None:
    """A file of this host, where that is allowed."""
    if "file" not in reach.schemes or url.host not in ("", "localhost"):
        raise Invalid(f"{url} may not be read", field="url", value=str(url), hint="import the file by its path instead")
    await file.begin("")
    with await asyncio.to_thread(intake.open_regular, Path(url.path), str(url)) as source:
        total = os.fstat(source.fileno()).st_size
        _check_size(str(url), file, total, limit_bytes)
        while piece := await asyncio.to_thread(source.read, _COPY_BYTES):
            await file.add(piece)
            meter.show(file.size, total)
            if file.size > limit_bytes:
                raise _too_large(str(url), limit_bytes)
