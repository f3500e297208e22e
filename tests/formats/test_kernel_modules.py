"""Load order and tables of kernel modules."""

from __future__ import annotations

import pytest

from guesthouse.formats import kernel_modules
from guesthouse.formats.kernel_modules import Module
from guesthouse.model.errors import NotFound

from .test_elf import elf_file

MODULES = {
    module.name: module
    for module in (
        Module("virtio", "kernel/virtio.ko", ("virtio_ring",), ()),
        Module("virtio_ring", "kernel/virtio_ring.ko", (), ()),
        Module("failover", "kernel/failover.ko", (), ()),
        Module("virtio_net", "kernel/virtio_net.ko", ("virtio_ring", "virtio", "failover"), ("virtio:d1v*",)),
        Module("isofs", "kernel/isofs.ko", ("cdrom",), ()),
    )
}


def test_a_module_file_is_read() -> None:
    data = elf_file({".modinfo": b"depends=virtio-ring,virtio\0alias=virtio:d00000004v*\0"})
    assert kernel_modules.read("kernel/drivers/virtio-rng.ko", data) == Module(
        "virtio_rng", "kernel/drivers/virtio-rng.ko", ("virtio_ring", "virtio"), ("virtio:d00000004v*",)
    )


def test_each_comes_after_what_it_needs() -> None:
    names = [module.name for module in kernel_modules.in_load_order(MODULES, ["virtio_net", "virtio"])]
    assert names == ["virtio_ring", "virtio", "failover", "virtio_net"]


def test_a_missing_dependency_is_named() -> None:
    with pytest.raises(NotFound, match="no module cdrom"):
        kernel_modules.in_load_order(MODULES, ["isofs"])


def test_tables() -> None:
    ordered = kernel_modules.in_load_order(MODULES, ["virtio_net"])
    # modprobe loads a line from its end: whatever a module needs stands after it.
    assert kernel_modules.dependency_table(ordered).splitlines() == [
        "kernel/virtio_ring.ko:",
        "kernel/virtio.ko: kernel/virtio_ring.ko",
        "kernel/failover.ko:",
        "kernel/virtio_net.ko: kernel/failover.ko kernel/virtio.ko kernel/virtio_ring.ko",
    ]
    assert kernel_modules.alias_table(ordered) == "alias virtio:d1v* virtio_net\n"
