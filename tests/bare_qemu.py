"""QEMU started by ten lines of its own, so that an image is tried without the product's machinery.

The console, the report port, the agent and QMP are socket pairs, passed by fd: nothing to wait for, no race.
"""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pycdlib
from tests.patience import PATIENCE_S

from guesthouse.host.images.built import BuiltImage


class Lines:
    """One end of a socket that carries a JSON object a line."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(PATIENCE_S)
        self.end = end
        self._file = end.makefile("rwb")

    def receive(self) -> Any:
        """The next object; a message for the log where the other end is gone."""
        line = self._file.readline()
        assert line, "the other end was closed"
        return json.loads(line.lstrip(b"\xff"))

    def ask(self, name: str, **arguments: Any) -> Any:
        """Send a command of QMP or of the agent and return its answer; events are passed over."""
        self._file.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        self._file.flush()
        while "return" not in (answer := self.receive()):
            assert "error" not in answer, answer
        return answer["return"]

    def wait_for_event(self, name: str) -> Any:
        """Wait for an event of QMP: its data."""
        while (event := self.receive()).get("event") != name:
            pass
        return event.get("data")


class Machine:
    """A running QEMU: report lines, agent, QMP, console, SSH."""

    def __init__(self, process: subprocess.Popen[bytes], ends: Mapping[str, socket.socket]) -> None:
        self.process = process
        self.console = ends["console"]
        self.report, self.agent, self.qmp = (Lines(ends[name]) for name in ("report", "agent", "qmp"))
        self.qmp.receive()
        self.qmp.ask("qmp_capabilities")
        self.find_ssh_port()

    def find_ssh_port(self) -> None:
        """Ask which port of the host leads to the guest's SSH server; 0 where none does."""
        said = self.qmp.ask("human-monitor-command", **{"command-line": "info usernet"})
        forwarded = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+22", said)
        self.ssh_port = int(forwarded[1]) if forwarded else 0

    def wait_until_configured(self) -> Any:
        """Read reports until the machine is configured: that report."""
        while (report := self.report.receive())["stage"] != "configured":
            pass
        return report

    def wait_for_end(self) -> int:
        """Wait until QEMU has ended by itself: its exit status."""
        return self.process.wait(timeout=PATIENCE_S)


@contextmanager
def running(
    image: BuiltImage,
    options: Sequence[str] = (),
    memory_mib: int = 128,
    append: str = "",
    inherited: Sequence[int] = (),
) -> Iterator[Machine]:
    """Start a machine of an image on TCG, by direct kernel boot if it has a kernel; it is killed with the block.

    `inherited` are descriptors that the options name.
    """
    pairs = {name: socket.socketpair() for name in ("console", "report", "agent", "qmp")}
    fds = {name: theirs.fileno() for name, (_, theirs) in pairs.items()}
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-m", str(memory_mib)),
        *("-accel", "tcg", "-cpu", "max", *_direct_boot(image, append)),
        *(part for name, fd in fds.items() for part in ("-chardev", f"socket,id={name},fd={fd}")),
        *("-mon", "chardev=qmp,mode=control", "-serial", "chardev:console", "-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=report,name=org.guesthouse.report.0"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-device", "virtio-rng-pci", *options),
    ]
    process = subprocess.Popen(argv, pass_fds=[*fds.values(), *inherited], stdin=subprocess.DEVNULL)
    try:
        for _, theirs in pairs.values():
            theirs.close()
        yield Machine(process, {name: ours for name, (ours, _) in pairs.items()})
    finally:
        process.kill()
        process.wait()
        for ours, _ in pairs.values():
            ours.close()


def _direct_boot(image: BuiltImage, append: str) -> Sequence[str]:
    if image.kernel is None or image.initrd is None:
        return ()
    kernel, initrd = str(image.folder / image.kernel), str(image.folder / image.initrd)
    return ("-kernel", kernel, "-initrd", initrd, "-append", f"{image.cmdline} {append}")


def write_seed(path: Path, files: Mapping[str, str]) -> Path:
    """A NoCloud CD-ROM image, written by a library that is not ours."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for number, (name, text) in enumerate(files.items()):
        data = text.encode()
        image.add_fp(io.BytesIO(data), len(data), f"/F{number}.;1", rr_name=name, joliet_path=f"/{name}")
    image.write(str(path))
    image.close()
    return path


class SecureShell:
    """An SSH client that knows the machine's host key and refuses any other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public = self._make("user")
        self.host_public = self._make("host")
        self.host_private = (folder / "host").read_text()

    def _make(self, name: str) -> str:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
        subprocess.run(command, check=True)
        return (self.folder / f"{name}.pub").read_text().strip()

    def options(self, port: int, check_host_key: bool) -> list[str]:
        """Options that `ssh`, `scp` and `sftp` share."""
        (self.folder / "known").write_text(f"[127.0.0.1]:{port} {self.host_public}\n")
        check = "yes" if check_host_key else "no"
        known = str(self.folder / "known") if check_host_key else "/dev/null"
        return [
            *("-o", f"Port={port}", "-i", str(self.folder / "user"), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
            *("-o", f"StrictHostKeyChecking={check}", "-o", f"UserKnownHostsFile={known}", "-F", "none"),
        ]

    def run(self, machine: Machine, command: str, user: str = "root", check_host_key: bool = True) -> str:
        """Run a command in the machine and return what it wrote to standard output; it must end well."""
        options = self.options(machine.ssh_port, check_host_key)
        done = subprocess.run(
            ["ssh", *options, f"{user}@127.0.0.1", command],
            stdout=subprocess.PIPE,
            timeout=PATIENCE_S,
            text=True,
            check=True,
        )
        return done.stdout
