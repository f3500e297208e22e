"""Session tokens: whom they open the door to, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doors.metadata.samples import NOW, SECRET

from guesthouse.doors.metadata.tokens import Tokens

TOKENS = Tokens(SECRET)


@given(st.integers(1, 21600), st.integers(-10, 30000))
def test_a_token_holds_as_long_as_was_asked(ttl_s: int, later_s: int) -> None:
    token = TOKENS.make("a", NOW, ttl_s)
    assert len(token) == 56
    assert TOKENS.left_s(token, "a", NOW + later_s) == max(0, ttl_s - later_s)
    assert Tokens(SECRET).left_s(token, "a", NOW) == ttl_s


@given(st.integers(0, 55), st.characters(codec="utf-8"))
def test_a_changed_token_does_not_hold(place: int, letter: str) -> None:
    token = TOKENS.make("a", NOW, 60)
    changed = token[:place] + letter + token[place + 1 :]
    assert (TOKENS.left_s(changed, "a", NOW) > 0) == (changed == token)


@pytest.mark.parametrize("token", ["", "=", "A", "A" * 56, "A" * 5600, "ä" * 56, "\0"])
def test_what_is_no_token(token: str) -> None:
    assert TOKENS.left_s(token, "a", NOW) == 0


def test_other_machines_and_other_houses_have_tokens_of_their_own() -> None:
    token = TOKENS.make("a", NOW, 60)
    assert TOKENS.left_s(token, "b", NOW) == 0
    assert Tokens(b"x" * 32).left_s(token, "a", NOW) == 0


def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Tokens(b"x" * 31)
