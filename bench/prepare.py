"""An image of somebody else's gets its gate: from an imported disk to forks of it, beside boots of the same disk.

Rules
-----
1. The image is Debian with Debian's own settings, nothing of ours but the reports in it, and is imported as a file: it
   has no kernel beside its disk, no gate, and boots by its own boot loader, as a cloud image does.
2. That it has no gate is seen first: no template can be made of it. Of what `image prepare` makes of it one can.
3. A machine is configured when its guest says so. Each must know its own name, have a machine-id of its own, and have
   done what its user-data says.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from tests import debian as machines
from tests.host.boxes import a_house

from bench.house import Daemon, Say, a_daemon
from bench.table import Row, Section
from guesthouse.host.images.debian import build_debian
from guesthouse.host.images.debian_tunings import STOCK

_MEMORY_MIB = 1024
_USER_DATA = "#cloud-config\n" + json.dumps({"runcmd": ["hostname >/srv/ran"]})
_ASKED = "cat /etc/machine-id /srv/ran; systemctl is-system-running --wait"
_REFUSED = "did not wait at a gate"


def measure(say: Say) -> Section:
    """Import, try, prepare, freeze, fork; and boot what was imported."""
    with (
        tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as folder,
        a_house() as house,
        a_daemon(house) as daemon,
    ):
        say("building an image with Debian's settings")
        place = Path(folder) / "stock"
        asyncio.run(build_debian(place, machines.kept(), lambda phase, percent=None: None, STOCK))
        disk = {"source": str(place / "disk.qcow2"), "name": "stock", "user": "debian"}
        daemon.do("POST", "/images/import", disk)
        say("a machine of it, booted")
        boot_s = _configured(daemon, "booted", "stock", forked=False)
        say("a template of it, which cannot be")
        refused = _refused(daemon, {"image": "stock", "memory_mib": _MEMORY_MIB})
        say("preparing it")
        prepare_s = _timed(daemon, "/images/stock/prepare", {"name": "ready"})
        say("a template of what was prepared")
        freeze_s = _timed(daemon, "/templates", {"image": "ready", "memory_mib": _MEMORY_MIB})
        forks_s = []
        for name in ("one", "two"):
            say(f"a fork of it: {name}")
            forks_s.append(_configured(daemon, name, "ready", forked=True))
    fork_s = min(forks_s)
    rows = [
        Row("template of the imported image", "refused" if refused else "made", "", "refused", refused),
        Row("image prepare", f"{prepare_s:.0f} s"),
        Row("template of the prepared image", f"{freeze_s:.0f} s"),
        Row("fork, launch → configured, beside a boot of the image", f"{fork_s:.1f} s",
            f"{boot_s:.1f} s: {boot_s / fork_s:.1f}x", "faster", fork_s < boot_s),
    ]  # fmt: skip
    return Section("An imported image gets its gate", rows, ["One run; the image boots by its own boot loader."])


def _timed(daemon: Daemon, path: str, body: Any) -> float:
    began = time.monotonic()
    daemon.do("POST", path, body)
    return time.monotonic() - began


def _refused(daemon: Daemon, body: Any) -> bool:
    try:
        daemon.do("POST", "/templates", body)
    except RuntimeError as error:
        return _REFUSED in str(error)
    return False


def _configured(daemon: Daemon, name: str, image: str, *, forked: bool) -> float:
    """Launch a machine and look whether it came out as it was described; seconds until it is configured."""
    spec = {"name": name, "image": image, "memory_mib": _MEMORY_MIB, "user_data": _USER_DATA}
    began = time.monotonic()
    operation = daemon.do("POST", "/machines", {"spec": spec})
    assert bool(operation["result"].get("template")) == forked, operation
    machine: Any = {"stage": ""}
    while machine["stage"] != "configured":
        machine = daemon.ask("GET", f"/machines/{name}/wait", None, until="configured", wait_s=30)
    took_s = time.monotonic() - began
    assert machine["status"]["outcome"]["ok"], machine["status"]
    said = daemon.ask("POST", f"/machines/{name}/exec", {"argv": ["sh", "-c", _ASKED]})
    words = b64decode(said["stdout"]).decode().split()
    assert words == [machine["id"].replace("-", ""), name, "running"], words
    daemon.do("DELETE", f"/machines/{name}")
    return took_s
