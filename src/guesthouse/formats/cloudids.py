"""Our ids as the clouds write theirs.

Rules
-----
1. The same id always has the same form, and none is stored: a form is a part of the id (a UUID, version 4), long enough
   to be unique in a house, and whoever has it can look for ids that begin so.
2. EC2: a prefix and 17 hexadecimal digits, the first 17 of the UUID: 62 of those bits are random.
3. Compute Engine: an unsigned number of 64 bits, the first 16 digits of the UUID: 58 of those bits are random.
4. Azure's ids are UUIDs: ours as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache

from guesthouse.model.errors import Invalid

EC2_DIGITS, GCE_DIGITS = 17, 16
_EC2 = re.compile(rf"[a-z]+-([0-9a-f]{{{EC2_DIGITS}}})")
_GROUPS = (8, 4, 4, 4, 12)


def ec2_id(prefix: str, id: str) -> str:
    """An EC2 id: ``i-0123456789abcdef0`` for the prefix ``i``. Nothing has no id: "" stays ""."""
    return f"{prefix}-{id.replace('-', '')[:EC2_DIGITS]}" if id else ""


def gce_id(id: str) -> int:
    """A Compute Engine id."""
    return int(id.replace("-", "")[:GCE_DIGITS], 16)


@lru_cache(maxsize=1024)
def account(project_number: int) -> str:
    """The twelve digits of an AWS account that stand for a project."""
    return f"{project_number:012d}"


def begins_ec2(text: str, field: str) -> str:
    """How the id begins that has this EC2 id; raises `Invalid` where it is none."""
    match = _EC2.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{text!r} is not an id", field=field, value=text, hint=f"a prefix, '-', {EC2_DIGITS} hexadecimal digits"
        )
    return _hyphened(match[1])


def begins_gce(number: int, field: str) -> str:
    """How the id begins that has this Compute Engine id; raises `Invalid` where it is none."""
    if not 0 <= number < 16**GCE_DIGITS:
        raise Invalid(f"{number} is not an id", field=field, value=number, hint="an unsigned number of 64 bits")
    return _hyphened(f"{number:0{GCE_DIGITS}x}")


def _hyphened(digits: str) -> str:
    """The first digits of a UUID with the hyphens between them (RFC 9562, 4)."""
    parts = []
    for length in _GROUPS:
        parts.append(digits[:length])
        digits = digits[length:]
    return "-".join(part for part in parts if part)
