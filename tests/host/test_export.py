"""Export with the real qemu-img: every format goes out and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.diskimages import VIRTUAL_BYTES, Told, holds_content, info, noise, qemu_img

from guesthouse.host.images.export import EXPORTS, Layer, export_disk
from guesthouse.host.images.imports import import_disk
from guesthouse.model.errors import Conflict, Invalid, NoCapacity


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder as the store has it: ours alone."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("format", EXPORTS)
async def test_every_format_goes_out_and_comes_back(
    disk_images: dict[str, Path], store: Path, tmp_path: Path, format: str, compress: bool
) -> None:
    out = tmp_path / f"out.{format}"
    layers = [Layer(disk_images["v3.qcow2"], "qcow2")]
    told = Told()
    if compress and EXPORTS[format].compressed_options is None:
        with pytest.raises(Invalid, match="no compressed form"):
            await export_disk(layers, out, format=format, compress=True, progress=told)
        assert not out.exists()
        return
    done = await export_disk(layers, out, format=format, compress=compress, progress=told)
    assert (done.path, done.format, done.file_bytes) == (out, format, out.stat().st_size)
    assert told.reports[-1] == ("exporting", 100.0)
    assert list(tmp_path.glob("*.partial")) == []
    back = await import_disk(out, store / "disk.qcow2", progress=Told())
    assert (back.source_format, back.virtual_bytes) == (format, VIRTUAL_BYTES)
    assert holds_content(back.path)


async def test_layers_are_merged_and_headers_ignored(disk_images: dict[str, Path], tmp_path: Path, store: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", str(disk_images["disk.raw"]), "-F", "raw", str(overlay))
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", str(overlay))
    layers = [Layer(overlay, "qcow2"), Layer(disk_images["disk.raw"], "raw")]
    await export_disk(layers, tmp_path / "out.qcow2", format="qcow2", progress=Told())
    assert "backing-filename" not in info(tmp_path / "out.qcow2", "qcow2")
    assert holds_content(tmp_path / "out.qcow2")


async def test_an_unknown_format_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        await export_disk([Layer(tmp_path / "a", "raw")], tmp_path / "b", format="iso", progress=Told())
    assert caught.value.hint.startswith("one of qcow2, raw")


async def test_a_disk_in_use_is_a_conflict(disk_images: dict[str, Path], tmp_path: Path) -> None:
    """qemu-io holds the disk as a machine does."""
    disk = tmp_path / "busy.qcow2"
    disk.write_bytes(disk_images["v3.qcow2"].read_bytes())
    holder = await asyncio.create_subprocess_exec(
        "qemu-io", "-f", "qcow2", str(disk), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(b"read 0 512\n")
        await holder.stdout.readuntil(b"ops;")
        with pytest.raises(Conflict, match="a running machine holds the disk"):
            await export_disk([Layer(disk, "qcow2")], tmp_path / "out", format="raw", progress=Told())
    finally:
        holder.stdin.close()
        await holder.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["busy.qcow2"]


async def test_an_export_onto_a_full_disk_leaves_nothing(tmp_path: Path, full_disk: Path) -> None:
    with pytest.raises(NoCapacity, match="the disk of this host is full"):
        await export_disk([Layer(noise(tmp_path), "raw")], full_disk / "out", format="qcow2", progress=Told())
    assert list(full_disk.iterdir()) == []
