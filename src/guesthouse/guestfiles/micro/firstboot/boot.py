"""A boot, from the first randomness to the last script."""

from __future__ import annotations

import fcntl
import os
import time

from . import entropy, keys, modules, netplan, secureshell, sources, userdata
from .guest import Guest, Refused
from .network import Network, nics
from .outcome import RUN, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .gate import Gate

_FAMILY = "/sys/class/dmi/id/product_family"
LOCK = RUN + "/running"


def prepare(guest: Guest) -> int:
    """What must be done before anything else of the guest starts: randomness, names of the serial ports.

    Returns the lock that is held until the machine is configured: who waits for it waits for that.
    """
    entropy.reseed(guest)
    ports = "/sys/class/virtio-ports"
    for port in os.listdir(guest.path(ports)) if guest.exists(ports) else ():
        name = guest.read(f"{ports}/{port}/name").strip()
        if name and "/" not in name:
            guest.folder("/dev/virtio-ports")
            os.symlink(f"../{port}", guest.path(f"/dev/virtio-ports/{name}"))
    guest.folder(RUN)
    lock = os.open(guest.path(LOCK), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def gate_of(guest: Guest) -> Gate | None:
    """The gate, where the host says in SMBIOS that this boot is to be frozen as a template; else None."""
    if guest.read(_FAMILY).strip() != "template":
        return None
    from . import gate, uevents  # no ordinary boot needs them

    return gate.Gate(guest, uevents.listen())


def configure(guest: Guest, lock: int, gate: Gate | None = None) -> None:
    """Find the source and apply it, behind the gate if there is one; tells the host when reachable and configured."""
    outcome = Outcome(guest)
    work = None
    try:
        if gate is not None:
            gate.wait(outcome)
        work = _configure(guest, outcome, gate)
    except Exception as error:  # the host waits for an outcome: a fault of ours is one too
        import traceback

        outcome.fail("firstboot", f"{type(error).__name__}: {error}")
        guest.log(traceback.format_exc())
    outcome.enter(None, time.time())
    outcome.configured()
    os.close(lock)
    if gate is not None:
        gate.leave()
    if work is not None:
        modules.run_stage(work, "after")


def _configure(guest: Guest, outcome: Outcome, gate: Gate | None) -> modules.Work:
    outcome.enter("init-local", time.time())
    network = Network(guest, outcome)
    seed = _seed(guest, outcome, network, gate)
    outcome.source, outcome.source_detail = seed.source, seed.detail
    for problem in seed.problems:
        outcome.fail(seed.source, problem)
    work = _work(guest, seed, outcome)

    outcome.enter("init", time.time())
    modules.run_stage(work, "init")
    if _start_secure_shell(work):
        network.wait_for_one()
        outcome.reachable()
    network.wait_for_all()
    for stage in ("modules-config", "modules-final"):
        outcome.enter(stage, time.time())
        modules.run_stage(work, stage)
    return work


def _start_secure_shell(work: modules.Work) -> bool:
    try:
        work.outcome.host_key = secureshell.make_host_keys(work.guest)
        secureshell.start(work.guest, work.passwords)
    except Refused as problem:
        work.outcome.fail("ssh", str(problem))
        return False
    return True


def _seed(guest: Guest, outcome: Outcome, network: Network, gate: Gate | None) -> sources.Seed:
    seed = sources.find_nocloud(guest)
    there = nics(guest) if gate is None else gate.take(seed)
    config = seed.network if seed else None
    setups, problems = netplan.plan(config, there)
    for problem in problems:
        outcome.fail("network-config", problem)
    hostname = str(seed.metadata.get("local-hostname") or "") if seed else ""
    network.start(setups, hostname)
    if seed is not None:
        return seed
    if not sources.wants_ec2(guest):
        return sources.none()
    network.wait_for_all()
    from . import ec2  # an HTTP client, which few boots need

    return ec2.read(ec2.Service())


def _work(guest: Guest, seed: sources.Seed, outcome: Outcome) -> modules.Work:
    user = userdata.decode(seed.userdata)
    vendor = userdata.decode(seed.vendordata)
    for name, parts in (("user-data", user), ("vendor-data", vendor)):
        for problem in parts.problems:
            outcome.fail(name, problem)
    config: dict[str, Any] = dict(user.config)
    scripts = list(user.scripts)
    # The user's word counts above the vendor's, who may be shut out altogether.
    if (config.get("vendor_data") or {}).get("enabled", True) is not False:
        config = {**vendor.config, **config}
        scripts = vendor.scripts + scripts
    return modules.Work(guest, seed, keys.check(config, outcome), scripts, outcome)
