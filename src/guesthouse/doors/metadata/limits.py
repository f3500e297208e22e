"""What one machine may take of the door: connections at a time, and requests a second.

Rules
-----
1. A machine has at most `MAX_CONNECTIONS` at a time; while all machines together have more than `CROWDED`, it has
   `MAX_CROWDED`. One more is closed as it comes.
2. A connection and a request cost a coin each. A machine has `PURSE` coins and gets `COINS_A_SECOND` new ones. Who has
   none waits until it has; whose debt is as large as a purse is turned away.
3. What is remembered of a machine is forgotten when it has no connection and a full purse.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

MAX_CONNECTIONS, MAX_CROWDED, CROWDED = 16, 2, 2048
PURSE, COINS_A_SECOND = 300.0, 100.0


@dataclass
class Share:
    """What one machine has: open connections, coins as of a time, in seconds of the clock."""

    connections: int
    coins: float
    at_s: float

    def spend(self, now_s: float) -> float:
        """Take a coin; returns for how many seconds its owner must wait."""
        self._earn(now_s)
        self.coins -= 1
        return max(0.0, -self.coins / COINS_A_SECOND)

    def is_broke(self, now_s: float) -> bool:
        """Whether it owes a whole purse."""
        self._earn(now_s)
        return self.coins <= -PURSE

    def is_idle(self, now_s: float) -> bool:
        """Whether there is nothing to remember."""
        self._earn(now_s)
        return self.connections == 0 and self.coins >= PURSE

    def _earn(self, now_s: float) -> None:
        self.coins = min(PURSE, self.coins + (now_s - self.at_s) * COINS_A_SECOND)
        self.at_s = now_s


class Limits:
    """The shares of all machines; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shares: dict[Hashable, Share] = {}
        self._connections = 0

    @property
    def connections(self) -> int:
        """How many there are of all machines."""
        return self._connections

    @property
    def remembered(self) -> int:
        """Of how many machines something is remembered."""
        return len(self._shares)

    def enter(self, who: Hashable) -> bool:
        """Count a connection, or say that it must be closed."""
        now_s = self._clock()
        share = self._shares.get(who) or Share(0, PURSE, now_s)
        most = MAX_CONNECTIONS if self._connections <= CROWDED else MAX_CROWDED
        if share.connections >= most or share.is_broke(now_s):
            return False
        self._forget(now_s)
        self._shares[who] = share
        share.spend(now_s)
        share.connections += 1
        self._connections += 1
        return True

    def wait_s(self, who: Hashable) -> float:
        """How long a request of someone who has entered must wait."""
        return self._shares[who].spend(self._clock())

    def leave(self, who: Hashable) -> None:
        """A connection that was counted is closed."""
        self._shares[who].connections -= 1
        self._connections -= 1

    def _forget(self, now_s: float) -> None:
        """Look at the oldest two: as more are forgotten than are new, what is remembered does not grow."""
        for who in list(self._shares)[:2]:
            share = self._shares.pop(who)
            if not share.is_idle(now_s):
                self._shares[who] = share
