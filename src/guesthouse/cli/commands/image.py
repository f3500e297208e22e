"""`guest image import` and `create`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from guesthouse.cli import perform
from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Invalid

_ENDINGS = re.compile(r"(\.(qcow2|raw|img|vmdk|vhd|vhdx|vdi|gz|xz|bz2|zst))+$")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.:_-]+")


def import_image(context: Context, row: Command, values: Values) -> int:
    """Import an image, under its file's name if no other is given."""
    return perform.perform(context, row, {**values, "name": values.get("name") or name_of(values["source"])})


def create(context: Context, row: Command, values: Values) -> int:
    """Make an image of a machine, of a snapshot of it, or of one disk."""
    if values.get("machine") is None:
        if values.get("disk") is None:
            raise Invalid(
                "nothing is named to make an image of", field="from", hint="add --from MACHINE, or --disk DISK"
            )
        return perform.perform(context, row, values)
    machine, at, snapshot = values["machine"].partition("@")
    if at and not snapshot:
        raise Invalid(
            f"--from {values['machine']}: no snapshot is named after the @",
            field="from",
            value=values["machine"],
            hint=f"write {machine}, or {machine}@SNAPSHOT; `guest snapshot list {machine}` shows them",
        )
    return perform.perform(context, row, {**values, "machine": machine, **({"snapshot": snapshot} if at else {})})


def name_of(source: str) -> str:
    """The name of an image from that file or URL: its last part without endings, in the letters of names."""
    path = urlsplit(source).path if "://" in source else source
    return _NOT_IN_NAMES.sub("-", _ENDINGS.sub("", PurePosixPath(path).name.lower())).strip("-.:_")[:63]
