"""What an operator may ask of hosts; the rules are those of `engine.intents`."""

from __future__ import annotations

from guesthouse.engine.intents import Intent
from guesthouse.model.hosts import Limits


class HostChange(Intent, frozen=True, kw_only=True):
    """Say where a host is and how much it may promise; fields that are None stay.

    `labels` and `limits` are replaced.
    """

    host: str
    name: str | None = None
    zone: str | None = None
    region: str | None = None
    labels: dict[str, str] | None = None
    limits: Limits | None = None
