"""Commands on snapshots of machines."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.table.machines import MACHINE, SECTION

_SNAPSHOT = Argument("snapshot", "name or id of the snapshot", complete="snapshot")
_YES = Option("--yes -y", "yes", "do not ask", switch=True, local=True)

ROWS = (
    Command(
        "snapshot create",
        "keep a machine as it is now: disks, memory and devices",
        SECTION,
        (
            MACHINE,
            Argument("name", "name of the snapshot; chosen when not given", required=False),
            Option("--description -d", "description", "what it is good for"),
            Option("--disks-only", "disks_only", "leave memory and devices out", switch=True),
            Option("--quiesce", "quiesce", "with --disks-only: have the guest's agent freeze file systems meanwhile",
                   switch=True),
        ),
        Request("POST", "/machines/{machine}/snapshots"),
        durable=True,
        run="snapshot:create",
        about="The machine runs on; the answer tells how long it stood still. A snapshot lies beside the disks of its "
        "machine and goes with them: it is not a backup.",
        examples=("guest snapshot create web", 'guest snapshot create web before-upgrade -d "nginx 1.22"',
                  "guest snapshot create web nightly --disks-only --quiesce"),
    ),
    Command(
        "snapshot list",
        "list the snapshots of a machine as a tree; * marks where it stands",
        SECTION,
        (MACHINE,),
        Request("GET", "/machines/{machine}/snapshots"),
        columns=(
            Column("NAME", "name"),
            Column("MEMORY", "memory", "yes"),
            Column("SIZE", "memory_bytes", "bytes", right=True),
            Column("PAUSE", "pause_ms", "ms", right=True),
            Column("AGE", "created_at", "age", right=True),
            Column("DESCRIPTION", "description"),
        ),
        run="snapshot:list_tree",
        about="Each stands below the one that it was taken after. SIZE is what its memory takes up.",
        examples=("guest snapshot list web",),
        aliases=("ls",),
    ),
    Command(
        "snapshot show",
        "show a snapshot",
        SECTION,
        (MACHINE, _SNAPSHOT),
        Request("GET", "/machines/{machine}/snapshots/{snapshot}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("machine", "machine_name"),
            Column("state", "state"),
            Column("description", "description"),
            Column("current", "current", "yes"),
            Column("parent", "parent_name"),
            Column("children", "children", "list"),
            Column("power", "power"),
            Column("memory", "memory", "yes"),
            Column("memory size", "memory_bytes", "bytes"),
            Column("quiesced", "quiesced", "yes"),
            Column("pause", "pause_ms", "ms"),
            Column("disks", "disks", "held"),
            Column("vcpus then", "spec.vcpus"),
            Column("memory then", "spec.memory_mib", "mib"),
            Column("nics then", "spec.nics", "nics"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest snapshot show web before-upgrade",),
    ),
    Command(
        "snapshot revert",
        "make a machine what it was; what it is now is lost",
        SECTION,
        (
            MACHINE,
            _SNAPSHOT,
            Option("--running", "running", "let it run, whatever it did then", switch=True, local=True),
            Option("--paused", "paused", "leave it paused", switch=True, local=True),
            Option("--stopped", "stopped", "leave it stopped: disks alone", switch=True, local=True),
            _YES,
        ),
        Request("POST", "/machines/{machine}/snapshots/{snapshot}/revert"),
        done="{machine} is what it was at {snapshot}",
        durable=True,
        relists=True,
        confirm="Revert {machine} to {snapshot}? What it is now is lost.",
        run="snapshot:revert",
        about="Every snapshot stays, and later ones branch off from there. Take one first to keep what is now.",
        examples=("guest snapshot revert web before-upgrade", "guest snapshot revert web fresh --stopped --yes"),
    ),
    Command(
        "snapshot delete", "delete a snapshot; those that were taken after it stay", SECTION,
        (MACHINE, _SNAPSHOT, _YES), Request("DELETE", "/machines/{machine}/snapshots/{snapshot}"), durable=True,
        done="deleted snapshot {snapshot} of {machine}", confirm="Delete snapshot {snapshot} of {machine}?",
        examples=("guest snapshot delete web before-upgrade",),
    ),
    Command(
        "snapshot rename", "give a snapshot another name", SECTION,
        (MACHINE, _SNAPSHOT, Argument("name", "its new name")),
        Request("PATCH", "/machines/{machine}/snapshots/{snapshot}"),
        done="snapshot {snapshot} of {machine} is {name} now", examples=("guest snapshot rename web s1 fresh",),
    ),
)  # fmt: skip

GROUPS = (Group("snapshot", "snapshots: keep machines as they are, and go back", SECTION),)
