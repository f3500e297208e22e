"""What may be asked for by doors that speak a dialect: keys to sign with, tags, and records of the dialect's own."""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.engine.intents import Intent
from guesthouse.model.resources import Role


class AccessKeyCreate(Intent, frozen=True, kw_only=True):
    """Make a key to sign requests with; its secret can be told again (`Access.secret`)."""

    role: Role = Role.OPERATOR


class AccessKeyDelete(Intent, frozen=True, kw_only=True):
    """Delete a key: what is signed with it is refused at once."""

    access_key: str


class Tagged(Intent, frozen=True, kw_only=True):
    """Put tags on something, and take some off. `subject` is an id of one of the project's own things."""

    subject: str
    put: dict[str, str] = msgspec.field(default_factory=dict)
    take: tuple[str, ...] = ()


class Keep(Intent, frozen=True, kw_only=True):
    """Keep a record of a dialect. An empty name is made from its id."""

    door: str
    kind: str
    name: str = ""
    subject: str = ""
    document: dict[str, Any] = msgspec.field(default_factory=dict)


class Rewrite(Intent, frozen=True, kw_only=True):
    """Change some parts of a record's document; None takes a part out."""

    record: str
    parts: dict[str, Any]


class Forget(Intent, frozen=True, kw_only=True):
    """Forget a record, and its tags."""

    record: str


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One of several things that are asked together: the intent, and what a door keeps with what it makes.

    `kind` and `document` are those of a record about it, none where `kind` is empty; `tags` are put on it. Those that
    are `beside` are put on what comes with a machine, by its table: ``disks`` or ``ports``.
    """

    intent: Intent
    kind: str = ""
    document: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    beside: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Makes a request one: asked again with the same `name` it does nothing and is answered with what it made.

    `digest` stands for what was asked; the same name with another one is refused.
    """

    name: str
    digest: str
