"""Whatever is done to a machine and its snapshots, in whatever order, and whoever dies: it holds what it should.

`python -m bench.soak_snapshots` does the same for as long as one likes, with other histories each time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.vm.histories import ACTIONS, Action, a_history

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm

HISTORIES, LENGTH = 2, 18


def test_a_machine_holds_what_its_history_says(micro_image: BuiltImage) -> None:
    """The same histories in every run. One that fails is told as it is: to find a shorter one would take hours."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        history = runner.run(stack.enter_async_context(a_history(micro_image)))
        history.say = note
        failed: list[BaseException] = []

        @settings(
            max_examples=HISTORIES,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(ACTIONS, min_size=LENGTH, max_size=LENGTH))
        def play(actions: list[Action]) -> None:
            if failed:  # its machine is not what it was: nothing is learnt by playing it again
                raise failed[0]
            try:
                runner.run(history.play(actions))
            except BaseException as error:
                failed.append(error)
                raise

        try:
            play()
        finally:
            runner.run(stack.aclose())
