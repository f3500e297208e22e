"""A guest that goes on from another machine's memory becomes a machine of its own, and runs on.

The host runs ``become name`` with what to be on standard input, lets the NICs have their links, and runs
``become network``. The Debian image has this module, too.

Rules
-----
1. Randomness comes first, before any program is started; then the clock, which stood still.
2. NICs lose their driver in ``name`` and get it back in ``network``. QEMU gives a virtio NIC its new MAC address when
   it is reset, as a driver that lets go of it does; until then nothing may go out by the old one.
3. Doing it again has the same result.
4. Programs run on as they are. Those in `HOOKS` are run last, with the new name, for whoever has more to change.

Source: Linux's sysfs of the bus "virtio" (bind, unbind); machine-id(5); cloud-init's module "Update Hostname".
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import signal
import sys

from . import entropy, secureshell
from .guest import Guest, Refused
from .network import nics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

HOOKS = "/etc/guesthouse/become.d"
STATE = "/run/guesthouse-become.json"
_MARKS = "/run/guest/nics"
_VIRTIO = "/sys/bus/virtio"
_SSH = "/etc/ssh"
_CLOUD = "/var/lib/cloud"
_PREVIOUS_HOSTNAME = "/var/lib/cloud/data/previous-hostname"
# Where whoever sets up a network may have written which NIC he means.
_BY_ADDRESS = (
    "/etc/NetworkManager/system-connections",
    "/etc/netplan",
    "/etc/network",
    "/etc/network/interfaces.d",
    "/etc/systemd/network",
    "/etc/udev/rules.d",
    "/run/systemd/network",
)
_NETWORKD_ONLINE = "/lib/systemd/systemd-networkd-wait-online"


def name(guest: Guest, told: dict[str, Any]) -> None:
    """Become what we are told to be, all but the networks."""
    for part in _PARTS:
        part(guest, told)


def network(guest: Guest) -> None:
    """Have the networks again, by the new addresses, and tell whoever wants to know."""
    state = json.loads(guest.read(STATE))
    for nic, device in state["nics"]:
        if guest.exists(_MARKS):
            guest.write(f"{_MARKS}/{nic}", b"")  # it is ours, and no newcomer to whoever handles those
        if not guest.exists(f"{_VIRTIO}/devices/{device}/driver"):
            guest.tell(f"{_VIRTIO}/drivers/virtio_net/bind", device)
    if guest.exists(_NETWORKD_ONLINE):
        _need(guest, "systemctl", "restart", "systemd-networkd.service")
        _need(guest, _NETWORKD_ONLINE, "--timeout=60")
        _need(guest, "systemctl", "restart", "systemd-journald.service")
    elif guest.exists("/usr/lib/guest/dhcp"):
        _ask_for_addresses(guest, [nic for nic, _ in state["nics"]], state["hostname"])
    for hook in _hooks(guest):
        _need(guest, hook, state["hostname"])


def _randomness(guest: Guest, told: dict[str, Any]) -> None:
    entropy.reseed(guest, entropy.FETCHED_BEFORE_BYTES)
    random = base64.b64decode(told["random"])
    guest.add_entropy(random, len(random))


def _clock(guest: Guest, told: dict[str, Any]) -> None:
    guest.catch_up()


def _machine_id(guest: Guest, told: dict[str, Any]) -> None:
    if guest.exists("/etc/machine-id"):
        guest.write("/etc/machine-id", told["id"].replace("-", "").encode() + b"\n", 0o444)


def _hostname(guest: Guest, told: dict[str, Any]) -> None:
    old, new = guest.read("/etc/hostname").strip(), told["hostname"]
    guest.write("/etc/hostname", new.encode() + b"\n")
    guest.set_hostname(new)
    if old:
        hosts = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", new, guest.read("/etc/hosts"))
        guest.write("/etc/hosts", hosts.encode())
    if guest.exists(_PREVIOUS_HOSTNAME):
        guest.write(_PREVIOUS_HOSTNAME, new.encode())


def _configured(guest: Guest, told: dict[str, Any]) -> None:
    """Have cloud-init, when it is told of its new instance-id at the next boot, find that it has configured that one.

    Source: cloud-init's folder instances/ID, the link to it, and data/instance-id, by which it knows a new instance.
    """
    link, new = f"{_CLOUD}/instance", told.get("instance_id")
    if not new or not os.path.islink(guest.path(link)):
        return
    folder = f"{_CLOUD}/instances/{new}"
    old = f"{_CLOUD}/instances/{os.path.basename(os.readlink(guest.path(link)))}"
    if guest.exists(old) and not guest.exists(folder):
        os.rename(guest.path(old), guest.path(folder))
    beside = guest.path(f"{link}.new")
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(folder, beside)
    os.replace(beside, guest.path(link))
    guest.write(f"{_CLOUD}/data/instance-id", f"{new}\n".encode())


def _host_key(guest: Guest, told: dict[str, Any]) -> None:
    if guest.exists("/etc/dropbear"):
        _dropbear_key(guest, told["host_key"])
    elif guest.exists(_SSH):
        _openssh_keys(guest, told["host_key"])


def _dropbear_key(guest: Guest, key: dict[str, str]) -> None:
    for path in secureshell.KEY_FILES.values():
        if guest.exists(path):
            os.unlink(guest.path(path))
    secureshell.set_host_key(guest, "ed25519", key["private"])
    passwords = True
    for process, argv in list(_processes(guest, "dropbear")):
        passwords = "-s" not in argv
        # It would serve with the old key; and who is connected is connected to another machine.
        _end(process)
    secureshell.start(guest, passwords)


def _openssh_keys(guest: Guest, key: dict[str, str]) -> None:
    """The host's key in place of ours, and a new one of each other kind that there was."""
    kinds = set()
    for file in os.listdir(guest.path(_SSH)):
        if found := re.fullmatch(r"ssh_host_(\w+)_key(\.pub)?", file):
            kinds.add(found[1])
            os.unlink(guest.path(f"{_SSH}/{file}"))
    guest.write(f"{_SSH}/ssh_host_ed25519_key", key["private"].encode(), 0o600)
    guest.write(f"{_SSH}/ssh_host_ed25519_key.pub", key["public"].encode() + b"\n")
    for kind in sorted(kinds - {"ed25519"}):
        _need(guest, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", guest.path(f"{_SSH}/ssh_host_{kind}_key"))
    for unit in ("ssh.service", "sshd.service"):
        guest.run(["systemctl", "try-restart", unit])  # systems call it the one or the other


def _nics(guest: Guest, told: dict[str, Any]) -> None:
    """Take the NICs with an old address from their driver, and write the new ones where the old ones were."""
    state = json.loads(guest.read(STATE) or "{}")
    taken = state.get("nics", []) if state.get("hostname") == told["hostname"] else []
    for nic, mac in nics(guest).items():
        if mac.lower() in told["macs"]:
            device = os.path.basename(os.path.realpath(guest.path(f"/sys/class/net/{nic}/device")))
            taken.append([nic, device])
    guest.write(STATE, json.dumps({"hostname": told["hostname"], "nics": taken}).encode())
    for nic, device in taken:
        for process, argv in list(_processes(guest, "udhcpc")):
            if nic in argv:
                _end(process)
        if guest.exists(f"{_VIRTIO}/devices/{device}/driver"):
            guest.tell(f"{_VIRTIO}/drivers/virtio_net/unbind", device)
    for folder in _BY_ADDRESS:
        _rewrite(guest, folder, told["macs"])


def _rewrite(guest: Guest, folder: str, macs: dict[str, str]) -> None:
    if not os.path.isdir(guest.path(folder)):
        return
    for file in os.listdir(guest.path(folder)):
        path = f"{folder}/{file}"
        if not os.path.isfile(guest.path(path)):
            continue
        before = after = guest.read(path)
        for old, new in macs.items():
            after = re.sub(re.escape(old), new, after, flags=re.IGNORECASE)
        if after != before:
            guest.write(path, after.encode(), os.stat(guest.path(path)).st_mode & 0o777)


def _ask_for_addresses(guest: Guest, ours: list[str], hostname: str) -> None:
    """Begin to use them as at a boot."""
    from . import netplan
    from .network import Network
    from .outcome import Outcome

    outcome = Outcome(guest)
    setups, _ = netplan.plan(None, {nic: mac for nic, mac in nics(guest).items() if nic in ours})
    asking = Network(guest, outcome)
    asking.start(setups, hostname)
    asking.wait_for_all()
    if outcome.failures:
        raise Refused("; ".join(failure["message"] for failure in outcome.failures))


def _processes(guest: Guest, program: str) -> Iterator[tuple[int, list[str]]]:
    """Processes of a program, by what they were called as, and with what."""
    for process in os.listdir(guest.path("/proc")):
        if process.isdigit():
            argv = guest.read(f"/proc/{process}/cmdline").split("\0")
            if os.path.basename(argv[0]) == program:
                yield int(process), argv


def _end(process: int) -> None:
    """Kill a process, and wait until it holds nothing any more."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    os.kill(process, signal.SIGKILL)
    select.select([handle], [], [])
    os.close(handle)


def _hooks(guest: Guest) -> list[str]:
    if not guest.exists(HOOKS):
        return []
    paths = [f"{HOOKS}/{file}" for file in sorted(os.listdir(guest.path(HOOKS)))]
    return [path for path in paths if os.access(guest.path(path), os.X_OK)]


def _need(guest: Guest, *argv: str) -> None:
    status, said = guest.run(argv)
    if status:
        raise Refused(f"{' '.join(argv)}: {said.decode(errors='replace').strip() or f'exit status {status}'}")


_PARTS: tuple[Callable[[Guest, dict[str, Any]], None], ...] = (
    _randomness,
    _clock,
    _machine_id,
    _hostname,
    _configured,
    _host_key,
    _nics,
)


def main(arguments: Sequence[str]) -> int:
    """Do what the host asks for; what went wrong is said on standard error."""
    try:
        if list(arguments) == ["name"]:
            name(Guest(), json.load(sys.stdin))
        elif list(arguments) == ["network"]:
            network(Guest())
        else:
            raise Refused("usage: become name|network")
    except (Refused, OSError, ValueError, KeyError) as error:
        print(f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error, file=sys.stderr)  # noqa: T201
        return 1
    return 0
