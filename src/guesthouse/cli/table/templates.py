"""Commands on templates."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.table.storage import SECTION
from guesthouse.cli.written import size, whole

_IMAGE = Argument("image", "name, id or family of the image", complete="image")
_TEMPLATE = Argument("template", "name or id of the template", complete="template")
_YES = Option("--yes -y", "yes", "do not ask", switch=True, local=True)

ROWS = (
    Command(
        "template create",
        "boot an image once and freeze it, for machines to be forked from",
        SECTION,
        (
            _IMAGE,
            Option("--name -n", "name", "name of the template; image, vCPUs and memory when not given", "NAME"),
            Option("--vcpus --cpus", "vcpus", "virtual processors (1)", "N", read=whole),
            Option("--memory -m", "memory_mib", "memory, like 512M or 2G (512M)", "SIZE", read=size),
            Option("--firmware", "firmware", "how it boots; auto takes the image's kernel where it has one",
                   choices=("auto", "direct", "bios", "uefi")),
            Option("--datasource", "datasource", "for machines that are configured by a seed disk (seed), or by the "
                   "metadata service", choices=("seed", "metadata")),
            Option("--public", "public", "let every project's machines share its memory (operators only)", switch=True),
        ),
        Request("POST", "/templates"),
        done="made template {subject_name}: launches of its image and size are forks of it",
        durable=True,
        about="A launch of this image with the same vCPUs, memory and firmware is then a fork of it and runs at once.",
        examples=("guest template create micro", "guest template create debian --memory 1G"),
    ),
    Command(
        "template list",
        "list templates",
        SECTION,
        (),
        Request("GET", "/templates"),
        columns=(
            Column("NAME", "name"),
            Column("STATE", "state"),
            Column("IMAGE", "image"),
            Column("VCPUS", "vcpus", right=True),
            Column("MEMORY", "memory_mib", "mib", right=True),
            Column("SHARED", "memory_bytes", "bytes", right=True),
            Column("BOOT", "boot_ms", "ms", right=True),
            Column("AGE", "created_at", "age", right=True),
        ),
        names=(("image", "/images"),),
        aliases=("ls",),
    ),
    Command(
        "template show",
        "show a template, and who was forked from it",
        SECTION,
        (_TEMPLATE,),
        Request("GET", "/templates/{template}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("state", "state"),
            Column("image", "image_name"),
            Column("vcpus", "vcpus"),
            Column("memory", "memory_mib", "mib"),
            Column("firmware", "spec.firmware"),
            Column("datasource", "spec.datasource"),
            Column("shared", "memory_bytes", "bytes"),
            Column("state size", "state_bytes", "bytes"),
            Column("boot", "boot_ms", "ms"),
            Column("public", "public", "yes"),
            Column("frozen by", "frozen_by"),
            Column("forks", "forks", "list"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest template show micro-1-512",),
    ),
    Command(
        "template delete", "delete a template that no disk stands on", SECTION, (_TEMPLATE, _YES),
        Request("DELETE", "/templates/{template}"), done="deleted template {template}", durable=True,
        confirm="Delete template {template}?", examples=("guest template delete micro-1-512",),
    ),
)  # fmt: skip

GROUPS = (Group("template", "templates: frozen machines to fork from", SECTION),)
