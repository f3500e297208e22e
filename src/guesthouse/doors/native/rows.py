"""What a row of the native door's table says, and what a view is handed.

Rules
-----
1. One `Row` is one operation of the door. It feeds the routing, the OpenAPI document, docs/api.md and the tests.
2. A row either hands an intent to the engine (`ask`) or calls a view (`see`) or opens a websocket (`follow`).
3. The names in a row's path are fields of its `params`; the other fields of `params` are query parameters.
   An intent's fields that are not in the path come from the body, or from the query where the method has none.
4. What an intent needs as role stands in the engine's table; a view's `role` stands in the row.
5. A row that `waits` has a parameter `wait_s`. With an intent it means: answer when the operation has ended, or
   when that time is over; whatever was accepted stays accepted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Meta
from starlette.websockets import WebSocket

from guesthouse.doors.native.closing import Closing
from guesthouse.doors.native.durations import Durations
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.dialect import OpenDoor
from guesthouse.model.resources import Role

Params = TypeVar("Params")

_WITHOUT_BODY = frozenset({"GET", "DELETE"})
_IN_PATH = re.compile(r"{(\w+)}")

MAX_WAIT_S = 60
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_S, description="seconds to wait at most")]
SMALL_BODY_BYTES = 64 * 1024
DOCUMENT_BYTES = 2 * 1024 * 1024
STDIN_BYTES = 6 * 1024 * 1024


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For rows that take none: any query parameter is refused."""


@dataclass(frozen=True)
class Content:
    """A body or an answer that is no JSON document; `chunked` ones are an `AsyncIterator` of bytes."""

    media_type: str
    chunked: bool = False


OCTETS = Content("application/octet-stream", chunked=True)
TEXT = Content("text/plain; charset=utf-8")
PNG = Content("image/png")


class CloudDoors(Protocol):
    """The doors of clouds, which are opened and shut while the daemon runs."""

    def doors(self) -> Sequence[OpenDoor]: ...

    def show(self, name: str) -> OpenDoor:
        """One that is to be open; raises `NotFound`."""

    async def open(self, name: str, listen: str, *, tls: bool) -> OpenDoor:
        """Open one, elsewhere if it is open already; raises `GuesthouseError`, and leaves all as it was."""

    async def shut(self, name: str) -> None: ...


@dataclass(frozen=True)
class Door:
    """The open door: whom it serves, its table, the doors beside it, and what `/metrics` tells of it.

    `requests` counts answers by method, path as in the table (empty where none matched) and status.
    """

    engine: Engine
    rows: tuple[Row, ...]
    clouds: CloudDoors
    closing: Closing = field(default_factory=Closing)
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    durations: Durations = field(default_factory=Durations)


@dataclass(frozen=True)
class Call(Generic[Params]):
    """One request as a view sees it. `local` askers are on this host; `body` has the row's shape."""

    door: Door
    asker: Asker
    local: bool
    params: Params
    body: Any = None

    @property
    def engine(self) -> Engine:
        return self.door.engine

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """The body of a row that takes `OCTETS`."""
        chunks: AsyncIterator[bytes] = self.body
        return chunks


View = Callable[[Call[Any]], Awaitable[object]]
Session = Callable[[Call[Any], WebSocket], Awaitable[None]]
Build = Callable[[type[Intent], Any, Any], Intent]


@dataclass(frozen=True)
class Row:
    """One operation of the door; see the rules of this module.

    `answer` is a type (``list[X]`` is sent as ``{"items": [...]}``) or a `Content`. `house` rows are for the
    operator of the house, `local` ones for askers on this host. A row that `waits` gives up when the door
    closes. `body_limit_bytes` bounds what is read into memory; an `OCTETS` body is streamed and not bounded.
    """

    method: str
    path: str
    summary: str
    params: type[Any]
    answer: Any
    intent: type[Intent] | None = None
    view: View | None = None
    session: Session | None = None
    build: Build | None = None
    body: Any = None
    status: int = 200
    role: Role = Role.VIEWER
    house: bool = False
    local: bool = False
    waits: bool = False
    body_limit_bytes: int = SMALL_BODY_BYTES

    @property
    def in_path(self) -> tuple[str, ...]:
        """The names in the path, in its order."""
        return tuple(_IN_PATH.findall(self.path))


def combine(intent: type[Intent], params: Any, body: Any) -> Intent:
    """The intent made of what path, query and body said."""
    said = {name: getattr(part, name) for part in (params, body) if part is not None for name in part.__struct_fields__}
    said.pop("wait_s", None)
    return intent(**said)


def ask(
    method: str,
    path: str,
    intent: type[Intent],
    summary: str,
    answer: Any,
    *,
    build: Build = combine,
    waits: bool = False,
    **more: Any,
) -> Row:
    """A row that hands an intent to the engine; the shapes follow from the intent (rule 3)."""
    in_path = _IN_PATH.findall(path)
    fields = {field.name: field for field in msgspec.structs.fields(intent)}
    asked = {name: fields[name] for name in fields if name in in_path or method in _WITHOUT_BODY}
    said = {name: field for name, field in fields.items() if name not in asked}
    others: list[Any] = [(name, str) for name in in_path if name not in fields]
    if waits:
        others.append(("wait_s", Wait, 0))
    params = _struct(f"{intent.__name__}Params", asked, others)
    body = _struct(intent.__name__, said, doc=intent.__doc__) if said else None
    return Row(method, path, summary, params, answer, intent=intent, build=build, body=body, waits=waits, **more)


def see(
    method: str, path: str, view: View, summary: str, answer: Any, params: type[Any] = NoParams, **more: Any
) -> Row:
    """A row that calls a view."""
    return Row(method, path, summary, params, answer, view=view, **more)


def follow(path: str, session: Session, summary: str, params: type[Any], frames: Content, **more: Any) -> Row:
    """A row that opens a websocket; `frames` is what goes over it."""
    return Row("WS", path, summary, params, frames, session=session, status=101, **more)


def _struct(
    name: str,
    fields: dict[str, msgspec.structs.FieldInfo],
    others: list[Any] | None = None,
    doc: str | None = None,
) -> type[msgspec.Struct]:
    """A struct with some fields of an intent, as they are there."""
    made: list[Any] = [(name, field.type, _default(field)) for name, field in fields.items()]
    namespace = {"__doc__": doc} if doc and not doc.startswith(f"{name}(") else None
    return msgspec.defstruct(
        name, [*(others or []), *made], namespace=namespace, module=__name__, frozen=True, kw_only=True,
        forbid_unknown_fields=True,
    )  # fmt: skip


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return msgspec.field(default=field.default) if field.default is not msgspec.NODEFAULT else msgspec.NODEFAULT
