"""Jobs that merge layers: how far they are, and how they ended."""

from __future__ import annotations

import pytest

from guesthouse.model.errors import Failed, GuesthouseError, NoCapacity
from guesthouse.qemu import streaming


def test_how_far_a_job_is() -> None:
    assert streaming.percent({"current-progress": 1, "total-progress": 4}) == 25
    assert streaming.percent({"current-progress": 0, "total-progress": 0}) == 0


def test_a_job_is_found_by_its_name() -> None:
    jobs = [{"id": "merge-1"}, {"id": "merge-10"}]
    assert streaming.find("merge-10", jobs) is jobs[1]
    assert streaming.find("merge-2", jobs) is None


@pytest.mark.parametrize(
    ("said", "kind"), [("No space left on device", NoCapacity), ("Input/output error", Failed), ("", None)]
)
def test_how_a_job_ended(said: str, kind: type[GuesthouseError] | None) -> None:
    found = streaming.failure({"id": "x", **({"error": said} if said else {})}, "disk root")
    assert (type(found) if found else None) is kind
    assert found is None or "disk root" in str(found)
