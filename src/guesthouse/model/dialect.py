"""What doors keep in the house beside the house's own nouns: keys of askers who sign, tags, dialects' own things.

Rules
-----
1. A cloud knows things that a house does not: launch templates, reservations, route tables. A door keeps each as a
   `DoorRecord`; nothing below the doors reads its document.
2. A record that is about something (`subject`) tells, by `gone_at`, since when that is gone: clouds show what has ended
   for an hour. Then it is forgotten. So are the tags of what is gone.
3. Of an access key only its name is kept. Its secret is made of that and of the house's own secret, whenever a
   signature is to be checked: who reads the database cannot sign.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.model.resources import Role

SHOWN_S = 3600
"""How long what has ended is still shown."""


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs with the key of this `name` is this role in this project."""

    id: str
    project: str
    name: str
    role: Role = Role.OPERATOR
    created_at: float = 0.0


class DoorRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A thing of the dialect of one `door`. `subject` is the id of what it is about, "" where it stands for itself.

    `name` is its own among its kind in its project.
    """

    id: str
    project: str
    door: str
    kind: str
    name: str
    subject: str = ""
    document: dict[str, Any] = {}
    gone_at: float = 0.0
    created_at: float = 0.0


class Tag(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A word and its text, put on whatever has an id. Those of machines are the labels of their descriptions."""

    id: str
    project: str
    subject: str
    name: str
    text: str = ""
    created_at: float = 0.0


class OpenDoor(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud's door: where it listens, HOST:PORT, and why it does not where it cannot.

    `certificate` is the file by which clients know it, empty without TLS.
    """

    name: str
    listen: str
    tls: bool = False
    certificate: str = ""
    error: str = ""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.listen}"
