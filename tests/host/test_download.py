"""Downloads from a real server on this host: whole, resumed, broken, lying, slow, too large."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fileserver import File, Request, Server, serving

from guesthouse.formats.checksum import Checksum
from guesthouse.host.images import partial, web
from guesthouse.host.images.download import Downloaded, download, fetch
from guesthouse.host.images.web import Reach
from guesthouse.model.errors import Conflict, Denied, Failed, GuesthouseError, Invalid, NoCapacity, NotFound, TimedOut

DATA = os.urandom(3_000_000)
SHA256 = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
SHA512 = Checksum("sha512", hashlib.sha512(DATA).hexdigest())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def quiet(phase: str, percent: float | None = None) -> None:
    """A `Progress` for those who do not look."""


async def get(server: Server, store: Path, **options: object) -> Downloaded:
    return await download(f"{server.url}/disk.img", store / "disk.img", **{"progress": quiet, **options})  # type: ignore[arg-type]


async def fails(server: Server, store: Path, **options: object) -> GuesthouseError:
    with pytest.raises(GuesthouseError) as caught:
        await get(server, store, **options)
    assert not (store / "disk.img").exists()
    return caught.value


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


@pytest.mark.parametrize("checksum", [None, SHA256, SHA512])
@pytest.mark.parametrize("announce", [True, False])
async def test_a_file_arrives_whole(server: Server, store: Path, checksum: Checksum | None, announce: bool) -> None:
    server.files["/disk.img"] = File(DATA, announce=announce)
    reports: list[tuple[str, float | None]] = []
    done = await get(server, store, checksum=checksum, progress=lambda *told: reports.append(told))
    assert done == Downloaded(store / "disk.img", len(DATA), SHA256, 0)
    assert done.path.read_bytes() == DATA
    assert names(store) == ["disk.img"]
    if announce:
        percents = [percent for _, percent in reports if percent is not None]
        assert percents == sorted(set(percents))
        assert reports[-1] == ("downloading", 100.0)
    else:
        assert reports[-1] == ("downloading, 2 MiB", None)


async def test_a_broken_connection_is_taken_up_at_once(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, etag='"one"', cuts=[1_000_000, 500_000, 0, 700_000])
    # The third request brings nothing, which ends the call; the next call goes on.
    assert isinstance(await fails(server, store, checksum=SHA256), Failed)
    assert names(store) == ["disk.img.partial", "disk.img.partial.json"]
    done = await get(server, store, checksum=SHA256)
    assert done.path.read_bytes() == DATA
    assert 0 < done.resumed_at <= 1_500_000
    assert names(store) == ["disk.img"]
    assert server.requests[0] == Request("/disk.img", "", "")
    assert all(request.if_range == '"one"' for request in server.requests[1:])
    starts = [int(request.range[6:-1]) for request in server.requests[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0


async def test_last_modified_serves_where_there_is_no_etag(server: Server, store: Path) -> None:
    changed = "Sat, 21 Nov 2026 10:00:00 GMT"
    server.files["/disk.img"] = File(DATA, etag='W/"weak"', last_modified=changed, cuts=[1_000_000])
    assert (await get(server, store)).path.read_bytes() == DATA
    assert server.requests[1].if_range == changed


async def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(b"old" * 500_000, etag='"old"', cuts=[1_000_000, 0])
    await fails(server, store)
    server.files["/disk.img"] = File(DATA, etag='"new"')
    done = await get(server, store, checksum=SHA256)
    assert done.path.read_bytes() == DATA
    assert server.requests[-1].if_range == '"old"'


async def test_without_a_validator_nothing_is_continued_or_left(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, cuts=[1_000_000])
    assert "broke the connection" in (await fails(server, store)).message
    assert names(store) == []
    assert (await get(server, store)).resumed_at == 0


async def test_another_url_does_not_continue_this_one(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(b"x" * 500_000, etag='"same"', cuts=[100_000, 0])
    await fails(server, store)
    server.files["/other.img"] = File(DATA, etag='"same"')
    done = await download(f"{server.url}/other.img", store / "disk.img", progress=quiet)
    assert done.path.read_bytes() == DATA
    assert server.requests[-1].range == ""


async def test_a_wrong_range_is_not_believed(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, etag='"one"', wrong_range=True, cuts=[1_000_000])
    assert (await get(server, store, checksum=SHA256)).path.read_bytes() == DATA
    assert [request.range != "" for request in server.requests] == [False, True, False]


async def test_all_was_there_already(server: Server, store: Path) -> None:
    """Killed after the last byte: the server has no rest to give."""
    server.files["/disk.img"] = File(DATA, etag='"one"', cuts=[1_000_000, 0])
    await fails(server, store)
    (store / "disk.img.partial").write_bytes(DATA)
    server.files["/disk.img"] = File(DATA, etag='"one"')
    assert (await get(server, store, checksum=SHA256)).resumed_at == len(DATA)


async def test_more_was_there_than_there_is(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, etag='"one"', cuts=[1_000_000, 0])
    await fails(server, store)
    (store / "disk.img.partial").write_bytes(DATA + b"more")
    server.files["/disk.img"] = File(DATA, etag='"one"')
    assert (await get(server, store)).path.read_bytes() == DATA


async def test_a_wrong_sum_shows_both_and_leaves_nothing(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA[:-1] + b"?", etag='"one"')
    error = await fails(server, store, checksum=SHA512)
    assert isinstance(error, Invalid)
    assert SHA512.digits in error.message
    assert hashlib.sha512(DATA[:-1] + b"?").hexdigest() in error.message
    assert names(store) == []


async def test_a_killed_download_goes_on(server: Server, store: Path) -> None:
    """A process of its own, killed with SIGKILL while it waits for more."""
    server.files["/disk.img"] = File(DATA, etag='"one"', stall=1_000_000)
    program = textwrap.dedent("""
        import asyncio, pathlib, sys
        from guesthouse.host.images.download import download
        def tell(phase, percent=None):
            print(percent, flush=True)
        asyncio.run(download(sys.argv[1], pathlib.Path(sys.argv[2]), progress=tell))
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, f"{server.url}/disk.img", str(store / "disk.img"),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while float(await process.stdout.readline()) < 33:
            pass
        assert isinstance(await fails(server, store), Conflict)
    finally:
        process.kill()
        await process.wait()
    server.files["/disk.img"] = File(DATA, etag='"one"')
    done = await get(server, store, checksum=SHA256)
    assert done.resumed_at > 900_000


async def test_a_cancelled_download_goes_on(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, etag='"one"', stall=1_000_000)
    came = asyncio.Event()
    task = asyncio.create_task(get(server, store, progress=lambda _, percent: percent > 30 and came.set()))
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.files["/disk.img"] = File(DATA, etag='"one"')
    assert (await get(server, store, checksum=SHA256)).resumed_at > 0


async def test_a_server_that_stops_sending_times_out(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, stall=1000)
    error = await fails(server, store, reach=Reach(idle_s=0.2))
    assert isinstance(error, TimedOut)
    assert error.message == "127.0.0.1 stopped sending"


@pytest.mark.parametrize("announce", [True, False])
async def test_the_size_is_limited(server: Server, store: Path, announce: bool) -> None:
    server.files["/disk.img"] = File(DATA, announce=announce)
    error = await fails(server, store, limit_bytes=1_000_000)
    assert isinstance(error, Invalid)
    assert "more than 1000000 bytes" in error.message
    assert names(store) == []


async def test_an_announced_size_that_has_no_room_is_refused_before(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA, announced_bytes=1 << 50)
    error = await fails(server, store, limit_bytes=1 << 60)
    assert isinstance(error, NoCapacity)
    assert names(store) == []


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (404, NotFound, "has no such file (404)"),
        (410, NotFound, "no longer has this file (410)"),
        (403, Failed, "refuses access (403)"),
        (401, Failed, "wants a login (401)"),
        (500, Failed, "cannot serve this file (500)"),
        (503, Failed, "is not available (503)"),
    ],
)
async def test_statuses_in_plain_words(
    server: Server, store: Path, status: int, kind: type[GuesthouseError], says: str
) -> None:
    server.files["/disk.img"] = File(status=status)
    error = await fails(server, store)
    assert type(error) is kind
    assert error.message == f"127.0.0.1 {says}: {server.url}/disk.img"
    assert error.hint
    assert names(store) == []


async def test_redirects_are_followed_and_limited(server: Server, store: Path) -> None:
    for number in range(5):
        server.files[f"/{number}"] = File(redirect=f"/{number + 1}")
    server.files["/5"] = File(DATA)
    server.files["/round"] = File(redirect="/round")
    done = await download(f"{server.url}/0", store / "disk.img", progress=quiet)
    assert done.path.read_bytes() == DATA
    done.path.unlink()
    with pytest.raises(Failed, match="redirects more than 5 times"):
        await download(f"{server.url}/round", store / "disk.img", progress=quiet)
    server.files["/disk.img"] = File(redirect="file:///etc/passwd")
    assert "scheme is file" in (await fails(server, store, reach=Reach(schemes=frozenset({"http", "file"})))).message
    server.files["/disk.img"] = File(redirect="ftp://127.0.0.1/")
    assert "scheme is ftp" in (await fails(server, store)).message


async def test_private_addresses_are_out_of_reach_for_tenants(server: Server, store: Path) -> None:
    server.files["/disk.img"] = File(DATA)
    error = await fails(server, store, reach=Reach(private=False))
    assert isinstance(error, Denied)
    assert error.message == "127.0.0.1 is at 127.0.0.1, which is not public"
    assert names(store) == []


async def test_nobody_listens(store: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/disk.img"
        with pytest.raises(Failed, match=r"127\.0\.0\.1 refuses the connection"):
            await download(url, store / "disk.img", progress=quiet)


async def test_a_name_that_is_not_known(store: Path) -> None:
    with pytest.raises(Failed, match=r"no-such-host\.invalid cannot be found by name"):
        await download("http://no-such-host.invalid/disk.img", store / "disk.img", progress=quiet)


async def test_a_certificate_that_is_not_trusted(server: Server, store: Path) -> None:
    """The server speaks no TLS at all, which is one way to have no certificate."""
    with pytest.raises(Failed, match="has no certificate that is trusted here"):
        await download(server.url.replace("http:", "https:") + "/disk.img", store / "disk.img", progress=quiet)


@pytest.mark.parametrize("url", ["disk.img", "ftp://h/x", "https://", "http://[::/x", "javascript:alert(1)", ""])
async def test_what_is_no_url_is_refused(store: Path, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await download(url, store / "disk.img", progress=quiet)
    assert caught.value.field == "url"
    assert names(store) == []


async def test_passwords_are_sent_and_not_shown(server: Server, store: Path) -> None:
    url = server.url.replace("//", "//user:secret@") + "/absent"
    with pytest.raises(NotFound) as caught:
        await download(url, store / "disk.img", progress=quiet)
    assert "secret" not in str(caught.value.as_dict())
    assert web.shown("http://u:p@h/x") == "http://h/x"


async def test_a_file_of_this_host_where_allowed(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    url = f"file://{tmp_path}/a%20b"
    everything = Reach(schemes=frozenset({"https", "http", "file"}))
    done = await download(url, store / "disk.img", checksum=SHA512, reach=everything, progress=quiet)
    assert done.path.read_bytes() == DATA
    done.path.unlink()
    with pytest.raises(Invalid, match="may not be read"):
        await download(url, store / "disk.img", progress=quiet)
    with pytest.raises(NotFound):
        await download(f"file://{tmp_path}/absent", store / "disk.img", reach=everything, progress=quiet)
    assert names(store) == []


async def test_two_downloads_of_one_file_are_a_conflict(server: Server, store: Path) -> None:
    async with partial.opened(store / "disk.img", "http://h/", None):
        assert isinstance(await fails(server, store), Conflict)


async def test_a_full_disk_keeps_what_has_come(server: Server, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)), check=True)
    try:
        server.files["/disk.img"] = File(DATA, etag='"one"', announce=False)
        with pytest.raises(NoCapacity, match=r"no room for disk\.img"):
            await download(f"{server.url}/disk.img", small / "disk.img", progress=quiet)
        assert names(small) == ["disk.img.partial", "disk.img.partial.json"]
    finally:
        subprocess.run(("umount", str(small)), check=True)


async def test_small_documents_are_limited_too(server: Server) -> None:
    server.files["/index.json"] = File(b"{}")
    assert await fetch(f"{server.url}/index.json", limit_bytes=2) == b"{}"
    with pytest.raises(Invalid, match="more than 1 bytes"):
        await fetch(f"{server.url}/index.json", limit_bytes=1)
    server.files["/index.json"] = File(b"{}" * 50, cuts=[3])
    with pytest.raises(Failed, match="broke the connection"):
        await fetch(f"{server.url}/index.json", limit_bytes=1000)
