"""What the daemon of a house is told at every start; kept in `House.settings`."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`database` is the URL at which the house's records are, empty in an embedded house."""

    database: str = ""
