"""What lies in the micro image: tables of programs, drivers and Python modules, and the tree they are taken from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from guesthouse.formats import cpio, elf, kernel_modules
from guesthouse.model.errors import NotFound

# In the packages → in the guest. A name with `*` stands for the one file that fits.
PROGRAMS = {
    "usr/bin/busybox": "usr/bin/busybox",
    "usr/bin/bash": "usr/bin/bash",
    "usr/bin/python3.*": "usr/bin/python3",
    "usr/bin/dropbearconvert": "usr/bin/dropbearconvert",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/sbin/qemu-ga": "usr/sbin/qemu-ga",
    "usr/lib/openssh/sftp-server": "usr/lib/sftp-server",
}

# A driver that the kernel at hand does not have is left out: Debian's cloud kernel has neither e1000 nor AHCI.
DRIVERS = (
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "virtio_mem",
    "sd_mod",
    "sr_mod",
    "ata_piix",
    "ahci",
    "e1000",
    "e1000e",
    "nvme",
    "evdev",
    "button",
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
    "af_packet",
    "ext4",
    "crc32c_generic",
    "crc32c_intel",
)

# What `firstboot` imports, and what that imports.
PYTHON_MODULES = (
    *("__future__", "_collections_abc", "_weakrefset", "abc", "base64", "bisect", "calendar", "codecs", "contextlib"),
    *("copyreg", "datetime", "enum", "fnmatch", "functools", "genericpath", "heapq", "io", "ipaddress", "keyword"),
    *("linecache", "locale", "operator", "os", "posixpath", "quopri", "random", "reprlib", "selectors", "signal"),
    *("socket", "stat", "string", "stringprep", "struct", "subprocess", "textwrap", "threading", "token", "tokenize"),
    *("traceback", "types", "warnings", "weakref", "zipimport"),
)
PYTHON_PACKAGES = ("collections", "email", "http", "importlib", "json", "re", "urllib")
PYTHON_ENCODINGS = ("__init__", "aliases", "ascii", "idna", "latin_1", "utf_16", "utf_8", "utf_8_sig")

_MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_FOLDERS = (
    "dev",
    "etc/network",
    "mnt",
    "proc",
    "run",
    "srv",
    "sys",
    "usr/local/bin",
    "usr/local/sbin",
    "var/lib",
    "var/log",
)
_SECRET = ("etc/shadow",)


class Tree:
    """Unpacked packages. A path is asked for as it is in a merged /usr; older packages have it without."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, pattern: str) -> Path:
        """The first file that fits. Links are followed inside the tree. Raises `NotFound`."""
        for place in (pattern, pattern.removeprefix("usr/")):
            for path in sorted(self.root.glob(place)):
                if not path.is_dir():
                    return self._followed(path)
        raise NotFound(f"no package brings {pattern}", subject="micro image")

    def has(self, pattern: str) -> bool:
        """Whether there is such a file."""
        return any(any(self.root.glob(place)) for place in (pattern, pattern.removeprefix("usr/")))

    def folder(self, pattern: str) -> Path:
        """The first folder that fits. Raises `NotFound`."""
        for place in (pattern, pattern.removeprefix("usr/")):
            for path in sorted(self.root.glob(place)):
                if path.is_dir():
                    return path
        raise NotFound(f"no package brings {pattern}", subject="micro image")

    def _followed(self, path: Path) -> Path:
        if not path.is_symlink():
            return path
        target = path.readlink()
        inside = target.relative_to("/") if target.is_absolute() else (path.parent / target).relative_to(self.root)
        return self.find(str(inside))


def programs(tree: Tree) -> Iterator[cpio.Entry]:
    """Programs, the loader, and all libraries that they need."""
    data = {place: tree.find(source).read_bytes() for source, place in PROGRAMS.items()}
    for place, content in data.items():
        yield cpio.file(place, content, 0o755)
    yield from libraries(tree, data.values())


def libraries(tree: Tree, binaries: Iterable[bytes]) -> Iterator[cpio.Entry]:
    """The libraries that these binaries need, those that the libraries need, and the loader."""
    loaders: set[str] = set()
    seen: set[str] = set()
    waiting = list(binaries)
    while waiting:
        binary = waiting.pop()
        loaders |= {loader.lstrip("/") for loader in [elf.interpreter(binary)] if loader}
        for name in elf.needed(binary):
            if name not in seen and not name.startswith("ld-linux"):
                seen.add(name)
                waiting.append(tree.find(f"{_LIBRARIES}/{name}").read_bytes())
                yield cpio.file(f"{_LIBRARIES}/{name}", waiting[-1], 0o755)
    for loader in sorted(loaders):
        yield cpio.file(f"usr/{loader}", tree.find(f"usr/{loader}").read_bytes(), 0o755)


def drivers(tree: Tree) -> Iterator[cpio.Entry]:
    """Kernel modules with what they depend on, and the tables by which they are loaded."""
    folder = tree.folder("usr/lib/modules/*")
    files = {kernel_modules.plain_name(path.name): path for path in folder.rglob("*.ko")}
    modules: dict[str, kernel_modules.Module] = {}

    def read(name: str) -> None:
        if name not in modules and name in files:
            path = files[name]
            modules[name] = kernel_modules.read(str(path.relative_to(folder)), path.read_bytes())
            for needed in modules[name].depends:
                read(needed)

    for name in DRIVERS:
        read(name)
    ordered = kernel_modules.in_load_order(modules, [name for name in DRIVERS if name in modules])
    place = f"usr/lib/modules/{folder.name}"
    for module in ordered:
        yield cpio.file(f"{place}/{module.path}", files[module.name].read_bytes())
    yield cpio.file(f"{place}/modules.dep", kernel_modules.dependency_table(ordered).encode())
    yield cpio.file(f"{place}/modules.alias", kernel_modules.alias_table(ordered).encode())


def python_folders(tree: Tree) -> Iterator[cpio.Entry]:
    """The folder of compiled modules, empty: Python complains on the console where there is none."""
    yield cpio.folder(f"usr/lib/{tree.folder('usr/lib/python3.*[0-9]').name}/lib-dynload")


def python_sources(tree: Tree) -> Iterator[tuple[str, Path]]:
    """Python files that the guest needs from packages: place in the guest, source."""
    library = tree.folder("usr/lib/python3.*[0-9]")
    wanted = [library / f"{name}.py" for name in PYTHON_MODULES]
    wanted += [library / "encodings" / f"{name}.py" for name in PYTHON_ENCODINGS]
    for name in PYTHON_PACKAGES:
        wanted += sorted((library / name).rglob("*.py"))
    for path in wanted:
        yield f"usr/lib/{path.relative_to(library.parent)}", path
    yaml = tree.folder("usr/lib/python3/dist-packages/yaml")
    for path in sorted(yaml.glob("*.py")):
        yield f"usr/lib/guest/python/yaml/{path.name}", path


def guest_files() -> Iterator[tuple[str, bytes]]:
    """Our own files for the guest: `rootfs` as it lies, and the package `firstboot`."""
    micro = resources.files("guesthouse.guestfiles.micro")
    yield from _files(micro / "rootfs", "")
    for path, data in _files(micro / "firstboot", "usr/lib/guest/python/firstboot/"):
        if path.endswith(".py"):
            yield path, data


def _files(folder: Traversable, place: str) -> Iterator[tuple[str, bytes]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files(item, f"{place}{item.name}/")
        else:
            yield f"{place}{item.name}", item.read_bytes()


def base(files: Mapping[str, bytes], applets: Iterable[str]) -> Iterator[cpio.Entry]:
    """Folders, links and our own files. What begins with `#!` is a program; `shadow` is root's alone."""
    for place, target in _MERGED.items():
        yield cpio.link(place, target)
    for place in _FOLDERS:
        yield cpio.folder(place)
    yield cpio.folder("root", 0o700)
    yield cpio.folder("home")
    for place in ("tmp", "var/tmp"):
        yield cpio.folder(place, 0o1777)
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.character_device("dev/null", 1, 3, 0o666)
    for path, data in files.items():
        place = _merged(path)
        yield cpio.file(place, data, 0o600 if place in _SECRET else 0o755 if data.startswith(b"#!") else 0o644)
    ours = {_merged(path) for path in files} | set(PROGRAMS.values())
    for applet in sorted({_merged(applet) for applet in applets} - ours):
        yield cpio.link(applet, "/usr/bin/busybox")


def _merged(path: str) -> str:
    first, slash, rest = path.partition("/")
    return f"{_MERGED.get(first, first)}{slash}{rest}" if slash else path
