"""Whether KVM really runs a guest on this box.

`/dev/kvm` may be there, open, and answer every ioctl, and still execute nothing: on hosts that are virtual
machines themselves. So a QEMU is started on it that runs a real program: from the reset vector through real
mode into 64-bit mode and out by the debug-exit port. It takes some 50 ms.

Source: Intel SDM volume 3, 10.1.4 (state at reset) and 10.8.5 (to 64-bit mode); QEMU's hw/misc/debugexit.c.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from guesthouse.host import processes
from guesthouse.host.durable import write_whole
from guesthouse.host.identity import MACHINES, can_confine, kvm_group
from guesthouse.model.errors import ChildFailed, GuesthouseError, TimedOut

DEVICE = Path("/dev/kvm")
_CACHE = "kvm.json"
_ASK_ITS_HOST = "this host is a virtual machine itself: ask for nested virtualisation on its host"
_TIMEOUT_S = 2.0
_ROM_BYTES = 64 * 1024
_LINEAR = 0xF0000  # where the ROM's 64 KiB are seen below 1 MiB
_CODE_AT, _TABLE_AT, _RESET_AT = 0x0000, 0x0100, 0xFFF0
_DEBUG_PORT, _WORD = 0xF4, 0x10
_EXPECTED_STATUS = _WORD << 1 | 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether KVM works; if not, why, and what mends it."""

    usable: bool
    reason: str = ""
    fix: str = ""


def test_program() -> bytes:
    """The ROM: 64 KiB that end with the reset vector."""
    descriptors = struct.pack("<QQ", 0, 0x00209A0000000000)  # null, 64-bit code
    table = struct.pack("<HI", len(descriptors) - 1, _LINEAR + _TABLE_AT + 8).ljust(8, b"\0") + descriptors
    to_long_mode = (
        b"\xfa\xfc"  # cli; cld
        b"\x31\xc0\x8e\xc0\x8e\xd8"  # xor ax,ax; mov es,ax; mov ds,ax
        b"\xbf\x00\x10\xb9\x00\x0c\x66\x31\xc0\xf3\x66\xab"  # di=1000h, cx=c00h, eax=0; rep stosd: 3 empty pages
        b"\x66\xc7\x06\x00\x10\x03\x20\x00\x00"  # level 4, entry 0: page 2000h, present, writable
        b"\x66\xc7\x06\x00\x20\x03\x30\x00\x00"  # level 3, entry 0: page 3000h
        b"\x66\xc7\x06\x00\x30\x83\x00\x00\x00"  # level 2, entry 0: the first 2 MiB as they are
        b"\x66\xb8\x00\x10\x00\x00\x0f\x22\xd8"  # cr3 = 1000h
        b"\x0f\x20\xe0\x0c\x20\x0f\x22\xe0"  # cr4: physical address extension
        b"\x66\xb9\x80\x00\x00\xc0\x0f\x32\x80\xcc\x01\x0f\x30"  # EFER (c0000080h): long mode enable
        b"\x2e\x66\x0f\x01\x16" + struct.pack("<H", _TABLE_AT) +  # lgdt cs:[table]
        b"\x0f\x20\xc0\x66\x0d\x01\x00\x00\x80\x0f\x22\xc0"  # cr0: protection and paging
    )  # fmt: skip
    target = _LINEAR + _CODE_AT + len(to_long_mode) + 8
    far_jump = b"\x66\xea" + struct.pack("<IH", target, 8)
    in_long_mode = bytes((0xB0, _WORD, 0xE6, _DEBUG_PORT, 0xF4, 0xEB, 0xFD))  # mov al; out; hlt; jmp to hlt
    rom = bytearray(_ROM_BYTES)
    for at, part in (
        (_CODE_AT, to_long_mode + far_jump + in_long_mode),
        (_TABLE_AT, table),
        (_RESET_AT, b"\xea" + struct.pack("<HH", _CODE_AT, 0xF000)),  # jmp f000:code
    ):
        rom[at : at + len(part)] = part
    return bytes(rom)


async def runs(binary: str, accelerator: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Run the test program; empty when it ran, else what happened instead."""
    with _test_rom() as rom:
        argv = (
            binary, "-machine", "q35", "-accel", accelerator, "-cpu", "max", "-m", "16M", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-bios", str(rom),
            "-device", f"isa-debug-exit,iobase={_DEBUG_PORT:#x},iosize=1",
        )  # fmt: skip
        try:
            await processes.run((*_as_a_machine(), *argv), timeout_s=timeout_s)
        except ChildFailed as error:
            return "" if error.status == _EXPECTED_STATUS else (error.lines or (str(error),))[-1]
        except TimedOut:
            return f"it executed nothing within {timeout_s:g} s"
        except GuesthouseError as error:
            return str(error)
    return "the test program came back to the start"


@contextlib.contextmanager
def _test_rom() -> Iterator[Path]:
    """The test program in a file that every user can read."""
    with tempfile.TemporaryDirectory(prefix="guesthouse-kvm-") as scratch:
        rom = Path(scratch) / "test.rom"
        rom.write_bytes(test_program())
        rom.parent.chmod(0o755)
        yield rom


def _as_a_machine() -> tuple[str, ...]:
    """The words that give a program the rights that a machine's QEMU has."""
    if not can_confine():
        return ()
    number = MACHINES.stop - 1
    return ("setpriv", f"--reuid={number}", f"--regid={number}", f"--groups={kvm_group()}", "--")


class Kvm:
    """The verdict on this box's KVM: found once a boot, kept in the folder `cache`."""

    def __init__(self, binary: str, cache: Path) -> None:
        self._binary = binary
        self._cache = cache
        self._known: Verdict | None = None
        self._asking = asyncio.Lock()

    async def verdict(self) -> Verdict:
        """The verdict; the first call of a boot takes up to two seconds."""
        async with self._asking:
            if self._known is None:
                self._known = await self._recall()
        return self._known

    async def accelerator(self) -> str:
        """``kvm`` or ``tcg``."""
        return "kvm" if (await self.verdict()).usable else "tcg"

    async def _recall(self) -> Verdict:
        question = _question()
        if (known := _kept(self._cache / _CACHE, question)) is not None:
            return known
        verdict = await self._find()
        with contextlib.suppress(OSError):  # what cannot be kept is found again next time
            write_whole(self._cache / _CACHE, msgspec.json.encode((question, verdict)))
        return verdict

    async def _find(self) -> Verdict:
        if (obstacle := _obstacle()) is not None:
            return obstacle
        if said := await runs(self._binary, "kvm"):
            fix = _ASK_ITS_HOST if _is_virtual() else "look at `dmesg | grep -i kvm`"
            return Verdict(usable=False, reason=f"/dev/kvm is there but runs no guest: {said}", fix=fix)
        return Verdict(usable=True)


def _question() -> str:
    """What the verdict depends on: the boot, who asks, and who may open the device."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        facts = DEVICE.stat()
    except FileNotFoundError:
        return f"{boot} {os.geteuid()} absent"
    return f"{boot} {os.geteuid()} {facts.st_mode:o} {facts.st_uid} {facts.st_gid} {_may_open()}"


def _kept(path: Path, question: str) -> Verdict | None:
    """The verdict found earlier, if it still answers the question."""
    try:
        asked, verdict = msgspec.json.decode(path.read_bytes(), type=tuple[str, Verdict])
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return verdict if asked == question else None


def _obstacle() -> Verdict | None:
    """What keeps KVM from working that can be seen without trying."""
    if not DEVICE.exists():
        return _no_device()
    if _may_open():
        return None
    return Verdict(
        usable=False,
        reason="/dev/kvm may not be opened by QEMU's user",
        fix="chgrp kvm /dev/kvm && chmod 660 /dev/kvm" if can_confine() else "adduser $USER kvm, then log in again",
    )


def _may_open() -> bool:
    """Whether the user that QEMU runs as may open the device."""
    if not can_confine():
        return os.access(DEVICE, os.R_OK | os.W_OK)
    facts = DEVICE.stat()
    return facts.st_mode & 0o006 == 0o006 or (facts.st_mode & 0o060 == 0o060 and facts.st_gid == kvm_group())


def _flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _is_virtual() -> bool:
    return "hypervisor" in _flags()


def _no_device() -> Verdict:
    flags = _flags()
    if flags & {"vmx", "svm"}:
        module = "kvm_intel" if "vmx" in flags else "kvm_amd"
        return Verdict(usable=False, reason="there is no /dev/kvm", fix=f"modprobe {module}")
    fix = _ASK_ITS_HOST if _is_virtual() else "switch on VT-x or AMD-V in the firmware's settings"
    return Verdict(usable=False, reason="the processor offers no virtualisation (neither vmx nor svm)", fix=fix)
