"""One change of a project's VPCs at a time.

Route tables, gateways and subnets say together who has a way out. Whoever changes one of them looks at all of them
first: two at once would not see each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from guesthouse.doors.ec2.rows import Call, Run
from guesthouse.ports import Store

_TURNS: WeakKeyDictionary[Store, dict[str, asyncio.Lock]] = WeakKeyDictionary()


def in_turn(run: Run) -> Run:
    """The function of a row, such that calls of one project follow each other."""

    @wraps(run)
    async def alone(call: Call) -> Mapping[str, Any] | None:
        turns = _TURNS.setdefault(call.engine.accept.store, {})
        async with turns.setdefault(call.asker.project, asyncio.Lock()):
            return await run(call)

    return alone
