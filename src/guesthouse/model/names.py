"""Names and ids.

Rules
-----
1. A machine's name is a DNS label (RFC 1123): it becomes the guest's hostname and its name in DNS. Other
   resources follow the same rule, so that every name can be typed, completed and put in a path or a URL;
   images may have dots and colons too (``debian:12``), and keys all that can be typed (``MyKeyPair``).
2. A name is unique in its project and kind. An id is unique everywhere and never used again: a UUID.
3. Whoever names a thing in a request may write its name or its id. A name may therefore not look like an id.
"""

from __future__ import annotations

import re
from random import Random
from uuid import UUID

from guesthouse.model.errors import Invalid

_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_IMAGE = re.compile(r"^[a-z0-9][a-z0-9.:_-]{0,62}$")
_TYPED = re.compile(r"^[!-~]([ -~]{0,253}[!-~])?$")
_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")

_FIRST = (
    "amber autumn brave bright calm clear cosy crisp early fair fond fresh gentle glad golden happy hazel "
    "keen kind light little lucky mellow merry mild neat noble patient pleasant polite proud quick quiet "
    "ready royal sandy silver simple sober spry still sunny swift tidy velvet warm wise witty"
).split()
_SECOND = (
    "alder badger birch bison brook cedar crane dove elm falcon fern finch fox garden hare harbor hawk heron "
    "hill ibex island jay kestrel lake lark linden lynx maple marten meadow moor oak orchard otter owl pine "
    "plover poplar raven river robin rowan sparrow spruce stork swan thrush tulip valley willow wren"
).split()


def check_name(name: str, what: str, field: str = "name") -> str:
    """Return `name` if it may name a `what`; raises `Invalid` with the rule that it breaks."""
    pattern, rule = _RULES.get(what, (_LABEL, _LABEL_RULE))
    if _ID.match(name):
        reason = "looks like an id"
    elif not pattern.match(name):
        reason = "is not a name"
    else:
        return name
    raise Invalid(f"{what} name {name!r} {reason}", field=field, value=name, hint=f"use {rule}")


_LABEL_RULE = "lower-case letters, digits and '-', at most 63 characters, a letter or digit at both ends"
_RULES = {
    "image": (_IMAGE, _LABEL_RULE.replace("'-'", "'-', '.', ':', '_'", 1)),
    "key": (_TYPED, "letters, digits and signs of ASCII, at most 255, and no space at the ends"),
}


def generate_name(random: Random, below: int = 100) -> str:
    """A name nobody had to think of, like ``quiet-otter-41``; its number is less than `below`, with as many digits."""
    return f"{random.choice(_FIRST)}-{random.choice(_SECOND)}-{random.randrange(below // 10, below)}"


def is_id(text: str) -> bool:
    """Whether a reference is an id and not a name."""
    return _ID.match(text) is not None


def make_id(random: Random) -> str:
    """A new id: a random UUID (version 4, RFC 9562)."""
    return str(UUID(int=random.getrandbits(128), version=4))


def make_mac(random: Random) -> str:
    """A MAC address in QEMU's range 52:54:00, 24 bits of it random."""
    return "52:54:00:" + ":".join(f"{random.randrange(256):02x}" for _ in range(3))
