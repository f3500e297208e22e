"""The pure floors do no I/O and take time, ids and randomness as values: read from their syntax trees.

Rules
-----
1. What a pure floor may import of the standard library stands in `ALLOWED`; of others in `LIBRARIES`.
2. Calls that reach outside are refused by name, however the name came in.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "guesthouse"
PURE = ("model", "decide", "formats", "qemu", "catalog")

ALLOWED = frozenset(
    "__future__ abc array base64 binascii bisect bz2 collections contextlib copy dataclasses datetime difflib email "
    "enum fnmatch functools gzip hashlib heapq hmac io ipaddress itertools json lzma math operator pathlib posixpath "
    "random re shlex stat string struct sys tarfile textwrap types typing unicodedata urllib uuid xml zlib".split()
)
LIBRARIES = frozenset({"guesthouse", "msgspec", "yaml", "pycdlib", "cryptography", "PIL"})
# Parts of allowed modules that reach outside.
REFUSED_IMPORTS = frozenset({"urllib.request", "random.SystemRandom", "uuid.uuid1", "uuid.uuid4", "tarfile.open"})
REFUSED_CALLS = frozenset(
    "open input print exec eval compile __import__ breakpoint "
    "random.random random.randrange random.choice random.seed random.SystemRandom uuid.uuid1 uuid.uuid4 "
    "datetime.now datetime.utcnow datetime.today date.today datetime.datetime.now "
    "Path.cwd Path.home".split()
)
REFUSED_METHODS = frozenset(
    "read_text read_bytes write_text write_bytes unlink mkdir rmdir touch rename replace_file stat lstat exists "
    "is_file is_dir is_symlink iterdir glob rglob chmod symlink_to hardlink_to resolve expanduser samefile".split()
)


CLASSES = frozenset({"datetime", "date", "Path"})
SYS_VALUES = frozenset({"byteorder", "maxsize"})


def pure_files() -> list[Path]:
    return sorted(path for floor in PURE for path in (SOURCE / floor).rglob("*.py"))


def faults(tree: ast.AST) -> Iterator[str]:
    """What a pure floor must not do, as ``line N: ...``. A parameter called like a module is no module."""
    modules = {
        alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _import_faults(node.lineno, alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            yield from _import_faults(node.lineno, node.module or "", [alias.name for alias in node.names])
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, modules)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sys" and node.attr not in SYS_VALUES:
            yield f"line {node.lineno}: uses sys.{node.attr}"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor):
            yield f"line {node.lineno}: async: nothing here waits"


def _import_faults(line: int, module: str, names: object) -> Iterator[str]:
    top = module.partition(".")[0]
    if top not in ALLOWED | LIBRARIES:
        yield f"line {line}: imports {module}"
    for name in names:
        if f"{module}.{name}" in REFUSED_IMPORTS:
            yield f"line {line}: imports {module}.{name}"
    if module in REFUSED_IMPORTS:
        yield f"line {line}: imports {module}"


def _call_faults(node: ast.Call, modules: set[str]) -> Iterator[str]:
    name = ast.unparse(node.func)
    is_method = isinstance(node.func, ast.Attribute) and node.func.attr in REFUSED_METHODS
    if is_method or (name in REFUSED_CALLS and _is_meant(name, modules)):
        yield f"line {node.lineno}: calls {name}"


def _is_meant(name: str, modules: set[str]) -> bool:
    """Whether a dotted call is one of a module or a class, and not of a parameter called like a module."""
    holder, dot, _ = name.partition(".")
    return not dot or holder in modules | CLASSES


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_pure_file(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text()))) == []


def test_the_floors_are_there() -> None:
    floors = {path.relative_to(SOURCE).parts[0] for path in pure_files()}
    assert floors == set(PURE)


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import time",
        "from os import path",
        "import asyncio",
        "import subprocess",
        "from urllib.request import urlopen",
        "from uuid import uuid4",
        "open('x')",
        "import random\nrandom.random()",
        "from datetime import datetime\ndatetime.now()",
        "from pathlib import Path\nPath('x').read_text()",
        "async def f(): pass",
        "import requests",
    ],
)
def test_what_is_refused(text: str) -> None:
    assert list(faults(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    ["from pathlib import Path\nPath('a') / 'b'", "import json\njson.loads('1')", "def f(random): random.random"],
)
def test_what_is_allowed(text: str) -> None:
    assert not list(faults(ast.parse(text)))
