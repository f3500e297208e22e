"""libvirt beside us: Debian's packages, started by hand where there is no systemd, in a mount namespace of their own.

Nothing of it stays, and a libvirt that runs on this box already is not touched: what it keeps under /run, /var and
/etc is a scratch folder in that namespace; its control groups are removed.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from bench.house import a_ready_socket, until_ready

_GUEST = Path(__file__).with_name("guest.xml")
_ANSWER_TIMEOUT_S = 120.0
_GROUPS = Path("/sys/fs/cgroup")
_STATE = ("/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/etc/libvirt")
# virtlogd comes back when it listens; libvirtd tells when it does. It is the process that we started.
_SCRIPT = """
set -eu
mount --make-rprivate /
for folder in {folders}; do mount --bind "$1$folder" "$folder"; done
env --unset=NOTIFY_SOCKET virtlogd --daemon --pid-file "$1/virtlogd.pid"
exec libvirtd
"""

# What differs from Debian's configuration: there may be no polkit to let us in; and with libvirt's own user, libvirtd
# was seen to start probes of QEMU one after another and to define no guest, on a box whose /dev/kvm is root's alone.
_CHANGES = {"libvirtd.conf": 'auth_unix_rw = "none"', "qemu.conf": 'user = "root"\ngroup = "root"'}


class Session:
    """A `virsh` that stays, told one command after another: a start without the start of a program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self("echo ready")

    def __call__(self, command: str) -> str:
        """What it says to a command; raises `RuntimeError` where that is an error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho end-of-answer\n")
        self._process.stdin.flush()
        said, ended = "", False
        patience = threading.Timer(_ANSWER_TIMEOUT_S, self._process.kill)
        patience.start()
        try:
            for line in self._process.stdout:
                if ended := line.startswith("end-of-answer"):
                    break
                said += line
        finally:
            patience.cancel()
        if not ended:
            raise RuntimeError(f"virsh {command}: ended, or gave no answer for {_ANSWER_TIMEOUT_S:.0f} s: {said}")
        if "error:" in said:
            raise RuntimeError(f"virsh {command}: {said}")
        return said


@dataclass(frozen=True)
class Libvirt:
    """A libvirtd of our own."""

    folder: Path
    address: str

    @property
    def virsh(self) -> tuple[str, ...]:
        """The words that begin a command."""
        return "virsh", "--connect", self.address

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A `virsh` that stays as long as the block."""
        with subprocess.Popen(
            self.virsh, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            yield Session(process)
            assert process.stdin is not None
            process.stdin.close()

    def define(self, name: str, argv: Sequence[str], disks: Sequence[Path], seed: Path, *, memory_mib: int) -> None:
        """Define the guest that a machine's argument list describes, on copies of its disks."""
        options = dict(itertools.pairwise(argv))
        copies = [Path(shutil.copy(file, self.folder / f"{name}-{file.name}")) for file in (*disks, seed)]
        elements = [_disk(n, file, file.suffix[1:], read_only=False) for n, file in enumerate(copies[:-1])]
        elements.append(_disk(len(disks), copies[-1], "raw", read_only=True))
        document = self.folder / f"{name}.xml"
        document.write_text(
            _GUEST.read_text().format(
                name=name,
                memory_mib=memory_mib,
                domain_type="kvm" if options["-accel"].startswith("kvm") else "qemu",
                machine_type=options["-machine"].split(",")[0],
                binary=shutil.which(argv[0]),
                boot=_boot(options),
                disks="\n    ".join(elements),
                log=self.folder / f"{name}.log",
            )
        )
        subprocess.run([*self.virsh, "define", str(document)], check=True, capture_output=True)


def missing() -> str:
    """Why libvirt cannot be started here; empty when it can."""
    absent = [name for name in ("libvirtd", "virtlogd", "virsh") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt install libvirt-daemon-system libvirt-clients"
    return "" if os.geteuid() == 0 else "libvirt's system daemon needs root"


@contextmanager
def a_libvirt() -> Iterator[Libvirt]:
    """A libvirtd and its virtlogd, ready; they and their guests end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-libvirt-"))
    groups_before = _groups()
    try:
        _furnish(folder)
        with a_ready_socket() as (address, ready), (folder / "libvirtd.log").open("ab") as log:
            daemon = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", _SCRIPT.format(folders=" ".join(_STATE)), "sh", str(folder)],
                env={**os.environ, "NOTIFY_SOCKET": address}, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                until_ready(daemon, ready, folder / "libvirtd.log")
                libvirt = Libvirt(folder, f"qemu+unix:///system?socket={folder}/run/libvirt/libvirt-sock")
                try:
                    yield libvirt
                finally:
                    _end_guests(libvirt)
            finally:
                daemon.terminate()
                daemon.wait()
                _end_logger(folder)
    finally:
        shutil.rmtree(folder)
        for group in sorted(_groups() - groups_before, reverse=True):
            group.rmdir()


def _furnish(folder: Path) -> None:
    """Empty state and Debian's own configuration, changed by `_CHANGES`."""
    folder.chmod(0o755)
    shutil.copytree("/etc/libvirt", folder / "etc/libvirt")
    for name, lines in _CHANGES.items():
        with (folder / "etc/libvirt" / name).open("a") as configuration:
            configuration.write(f"\n{lines}\n")
    for state in _STATE:
        Path(state).mkdir(parents=True, exist_ok=True)
        (folder / state.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (folder / "var/log/libvirt/qemu").mkdir()


def _end_guests(libvirt: Libvirt) -> None:
    listed = subprocess.run([*libvirt.virsh, "list", "--name"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        subprocess.run([*libvirt.virsh, "destroy", name], capture_output=True, check=True)


def _end_logger(folder: Path) -> None:
    """End virtlogd, which is nobody's child, and wait until it is gone."""
    watched = os.pidfd_open(int((folder / "virtlogd.pid").read_text()))
    try:
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        select.select([watched], [], [])
    finally:
        os.close(watched)


def _groups() -> set[Path]:
    """The control groups of guests, whoever's: a run that was killed leaves its own, and their parent with them."""
    return {group for top in _GROUPS.glob("*/machine/") for group in (top, *top.rglob("*/"))}


def _boot(options: dict[str, str]) -> str:
    words = {"kernel": "-kernel", "initrd": "-initrd", "cmdline": "-append"}
    found = {tag: options[option] for tag, option in words.items() if option in options}
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in found.items()) or "<boot dev='hd'/>"


def _disk(number: int, file: Path, format: str, *, read_only: bool) -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{file}'/>"
        f"<target dev='vd{chr(ord('a') + number)}' bus='virtio'/>{'<readonly/>' if read_only else ''}</disk>"
    )
