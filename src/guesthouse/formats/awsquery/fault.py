"""Why a request is refused, as the protocol says it."""

from __future__ import annotations


class Fault(Exception):
    """A refusal: one of the service's error codes, a sentence for people, and an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
