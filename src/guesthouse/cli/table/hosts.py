"""Commands on hosts: the boxes of a house."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import label, percent, ratio

SECTION = "Hosts"

_HOST = Argument("host", "name or id of the host; the one that answers when not given", required=False, complete="host")
_HERE = (("host", "here"),)

ROWS: tuple[Command, ...] = (
    Command(
        "host list",
        "list the hosts of the house",
        SECTION,
        (),
        Request("GET", "/hosts"),
        columns=(
            Column("NAME", "name"),
            Column("STATE", "state"),
            Column("ZONE", "zone"),
            Column("CPUS", "cpus", right=True),
            Column("MEMORY", "memory_mib", "mib_about", right=True),
            Column("FREE", "memory_free_mib", "mib_about", right=True),
            Column("DISK FREE", "disk_free_mib", "mib_about", right=True),
            Column("MACHINES", "machines", right=True),
        ),
        aliases=("ls",),
    ),
    Command(
        "host show",
        "tell what a host has and what is free of it",
        SECTION,
        (_HOST,),
        Request("GET", "/hosts/{host}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("state", "state"),
            Column("address", "address"),
            Column("zone", "zone"),
            Column("region", "region"),
            Column("labels", "labels", "labels"),
            Column("accelerator", "accelerator"),
            Column("cpus", "cpus"),
            Column("memory", "memory_mib", "mib_about"),
            Column("memory free", "memory_free_mib", "mib_about"),
            Column("disk free", "disk_free_mib", "mib_about"),
            Column("machines", "machines"),
            Column("vcpus placed", "vcpus_placed"),
            Column("memory placed", "memory_placed_mib", "mib_about"),
            Column("vcpus per cpu", "limits.vcpus_per_cpu", "limit"),
            Column("memory percent", "limits.memory_percent", "limit"),
            Column("seen", "seen_at", "time"),
        ),
        defaults=_HERE,
        examples=("guest host show", "guest host show north"),
    ),
    Command(
        "host set",
        "say where a host is, and how much it may promise; what is not named stays",
        SECTION,
        (
            _HOST,
            Option("--name", "name", "its name in the house", "NAME"),
            Option("--zone", "zone", "the zone that it is in", "NAME"),
            Option("--region", "region", "the region of that zone", "NAME"),
            Option("--label -l", "labels", "a label; those not named go", "KEY=VALUE", read=label, repeat=True),
            Option("--vcpus-per-cpu", "limits.vcpus_per_cpu", "virtual processors for each of its processors",
                   "N|unlimited", read=ratio),
            Option("--memory-percent", "limits.memory_percent", "memory of machines in percent of its memory",
                   "N|unlimited", read=percent),
        ),
        Request("PATCH", "/hosts/{host}"),
        done="changed host {name}",
        run="host:change",
        defaults=_HERE,
        about="Machines that are there stay, whatever the limits are now.",
        examples=("guest host set north --zone eu-1a", "guest host set --vcpus-per-cpu 4 --memory-percent 150"),
    ),
    Command(
        "host check",
        "tell what this host lacks, and how to get it",
        SECTION,
        (),
        Request("GET", "/host/check"),
        columns=(Column("WHAT", "name"), Column("LEVEL", "level"), Column("FOUND", "found")),
        run="host:check",
        about="Ends with exit code 7 when something is missing that machines need.",
    ),
    Command(
        "host clean",
        "remove the networks of a house that has no daemon from this host",
        SECTION,
        (Option("--yes -y", "yes", "do not ask", switch=True, local=True),),
        done="removed {removed}",
        confirm="Remove all networks of the house {house} from this host? Machines that run lose them.",
        run="host:clean",
        about="Links, namespaces, routes and rules that a house made here go; nothing else is touched. Its next daemon "
        "makes them again.",
        examples=("guest host clean", "GUESTHOUSE_HOME=/srv/old guest host clean --yes"),
    ),
)  # fmt: skip

GROUPS: tuple[Group, ...] = (Group("host", "the boxes that run machines", SECTION),)
