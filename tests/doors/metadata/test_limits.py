"""What a machine may take, by a clock of the test's."""

from __future__ import annotations

import pytest

from guesthouse.doors.metadata.limits import (
    COINS_A_SECOND,
    CROWDED,
    MAX_CONNECTIONS,
    MAX_CROWDED,
    PURSE,
    Limits,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock)


def test_a_machine_has_so_many_connections(limits: Limits) -> None:
    assert [limits.enter("a") for _ in range(MAX_CONNECTIONS + 1)] == [True] * MAX_CONNECTIONS + [False]
    assert limits.enter("b")
    limits.leave("a")
    assert limits.enter("a")
    assert not limits.enter("a")


def test_a_machine_has_fewer_while_there_are_many(limits: Limits) -> None:
    for number in range(CROWDED + 1):
        assert limits.enter(number)
    assert [limits.enter("late") for _ in range(MAX_CROWDED + 1)] == [True] * MAX_CROWDED + [False]
    for number in range(MAX_CROWDED + 1):
        limits.leave(number)
    assert limits.enter("late")


def test_who_has_spent_a_purse_waits_for_each_coin(limits: Limits, clock: Clock) -> None:
    limits.enter("a")
    assert [limits.wait_s("a") for _ in range(int(PURSE) - 1)] == [0.0] * (int(PURSE) - 1)
    assert limits.wait_s("a") == pytest.approx(1 / COINS_A_SECOND)
    assert limits.wait_s("a") == pytest.approx(2 / COINS_A_SECOND)
    clock.now_s += 1
    assert limits.wait_s("a") == 0.0


def test_who_only_connects_is_turned_away_after_a_while(limits: Limits, clock: Clock) -> None:
    entered = 0
    while limits.enter("a"):
        limits.leave("a")
        entered += 1
    assert entered == 2 * PURSE
    assert limits.enter("b")
    clock.now_s += 1
    assert limits.enter("a")


def test_machines_are_forgotten(limits: Limits, clock: Clock) -> None:
    for number in range(1000):
        clock.now_s += 1
        assert limits.enter(number)
        limits.leave(number)
        assert limits.remembered <= 3


def test_who_is_connected_or_owes_is_not_forgotten(limits: Limits) -> None:
    limits.enter("stays")
    limits.enter("owes")
    for _ in range(int(PURSE) + 8):
        limits.wait_s("owes")
    limits.leave("owes")
    for number in range(100):
        assert limits.enter(number)
        limits.leave(number)
    assert limits.enter("owes")
    assert limits.wait_s("owes") > 10 / COINS_A_SECOND
    assert [limits.enter("stays") for _ in range(MAX_CONNECTIONS)] == [True] * (MAX_CONNECTIONS - 1) + [False]
