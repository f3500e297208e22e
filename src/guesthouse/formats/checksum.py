"""Checksums of files, as people and image servers write them: ``sha256:HEX``, or the bare digits."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from guesthouse.model.errors import Invalid

ALGORITHMS: dict[str, int] = {"sha256": 64, "sha512": 128}
"""Name and number of hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """An algorithm of `ALGORITHMS` and lower-case hexadecimal digits."""

    algorithm: str
    digits: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digits}"

    def matches(self, other: Checksum) -> bool:
        """Whether both are the same sum by the same algorithm."""
        return self.algorithm == other.algorithm and hmac.compare_digest(self.digits, other.digits)


def parse(text: str) -> Checksum:
    """Read ``sha256:HEX``, ``sha512:HEX`` or bare digits, whose number tells the algorithm; raises `Invalid`."""
    algorithm, colon, digits = text.strip().lower().rpartition(":")
    if not colon:
        algorithm = next((name for name, count in ALGORITHMS.items() if count == len(digits)), "")
    if ALGORITHMS.get(algorithm) != len(digits) or not re.fullmatch(r"[0-9a-f]+", digits):
        raise Invalid(
            f"{text!r} is no checksum",
            field="checksum",
            value=text,
            hint="64 hexadecimal digits for sha256, 128 for sha512",
        )
    return Checksum(algorithm, digits)


class Hasher:
    """Sums a stream in all algorithms that may be asked for: sha256 always, and the expected one."""

    def __init__(self, expected: Checksum | None = None) -> None:
        names = {"sha256"} | ({expected.algorithm} if expected else set())
        self._sums = {name: hashlib.new(name) for name in sorted(names)}

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        for each in self._sums.values():
            each.update(data)

    def checksum(self, algorithm: str = "sha256") -> Checksum:
        """The sum of all bytes so far."""
        return Checksum(algorithm, self._sums[algorithm].hexdigest())


def verify(name: str, actual: Checksum, expected: Checksum) -> None:
    """Raise `Invalid`, showing both, when the sum of the file called `name` is not the expected one."""
    if not expected.matches(actual):
        raise Invalid(
            f"{name} has not the {expected.algorithm} that was expected\n"
            f"  expected {expected.digits}\n  actual   {actual.digits}",
            subject=name,
            field="checksum",
            value=actual.digits,
            hint="the file is damaged or is another one; nothing of it was used",
        )
