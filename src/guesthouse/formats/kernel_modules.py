"""Which kernel modules a small system carries, and the tables by which `modprobe` loads them.

Debian's kernel package carries no tables (depmod writes them when it is installed), so they are written here
from what the modules tell of themselves.

Source: modules.dep(5); `busybox modprobe` reads modules.dep and modules.alias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from guesthouse.formats import elf
from guesthouse.model.errors import NotFound


class Module(NamedTuple):
    """A kernel module: where it lies below /lib/modules/VERSION, what it needs and which hardware asks for it."""

    name: str
    path: str
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def plain_name(name: str) -> str:
    """The name by which the kernel knows a module: `virtio-rng.ko` and `virtio_rng` are the same."""
    return name.removesuffix(".ko").replace("-", "_")


def read(path: str, data: bytes) -> Module:
    """What the module file `data`, to lie at `path`, tells of itself. Raises `Invalid` when it is no ELF file."""
    told = list(elf.module_information(data))
    depends = (name for key, value in told if key == "depends" for name in value.split(",") if name)
    return Module(
        name=plain_name(path.rpartition("/")[2]),
        path=path,
        depends=tuple(map(plain_name, depends)),
        aliases=tuple(value for key, value in told if key == "alias"),
    )


def in_load_order(modules: Mapping[str, Module], wanted: Iterable[str]) -> list[Module]:
    """The wanted modules and all they need, each after those that it needs. Raises `NotFound`."""
    ordered: dict[str, Module] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        if name not in modules:
            raise NotFound(f"the kernel has no module {name}", subject=f"kernel module {name}")
        for needed in modules[name].depends:
            add(needed)
        ordered[name] = modules[name]

    for name in wanted:
        add(name)
    return list(ordered.values())


def dependency_table(ordered: Iterable[Module]) -> str:
    """modules.dep for modules in load order: a line lists all that a module needs, the last needed first."""
    paths: dict[str, list[str]] = {}
    lines = []
    for module in ordered:
        chain: list[str] = []
        for needed in module.depends:
            chain = [path for path in paths[needed] if path not in chain] + chain
        paths[module.name] = [module.path, *chain]
        lines.append(f"{module.path}:{''.join(f' {path}' for path in chain)}\n")
    return "".join(lines)


def alias_table(modules: Iterable[Module]) -> str:
    """modules.alias: which module serves which hardware or file system."""
    return "".join(f"alias {alias} {module.name}\n" for module in modules for alias in module.aliases)
