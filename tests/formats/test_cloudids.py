"""Ids as the clouds write them, and back."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.formats.cloudids import account, begins_ec2, begins_gce, ec2_id, gce_id
from guesthouse.model.errors import Invalid
from guesthouse.model.names import make_id

ID = "6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e"


def test_examples() -> None:
    assert ec2_id("i", ID) == "i-6f1c2d3e4a5b4c6d8"
    assert ec2_id("ami", "") == ""
    assert gce_id(ID) == 0x6F1C2D3E4A5B4C6D
    assert begins_ec2("i-6f1c2d3e4a5b4c6d8", "id") == "6f1c2d3e-4a5b-4c6d-8"
    assert begins_gce(0x6F1C2D3E4A5B4C6D, "id") == "6f1c2d3e-4a5b-4c6d"
    assert account(42) == "000000000042"


@given(st.integers(min_value=0))
def test_an_id_begins_as_its_forms_say(seed: int) -> None:
    id = make_id(Random(seed))
    assert id.startswith(begins_ec2(ec2_id("subnet", id), "id"))
    assert id.startswith(begins_gce(gce_id(id), "id"))


@pytest.mark.parametrize(
    "text", ["", "i-", "i-123", "6f1c2d3e4a5b4c6d8", "i-6F1C2D3E4A5B4C6D8", "i-6f1c2d3e4a5b4c6d8 "]
)
def test_what_is_no_ec2_id(text: str) -> None:
    with pytest.raises(Invalid) as error:
        begins_ec2(text, "InstanceId.1")
    assert error.value.field == "InstanceId.1"


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_what_is_no_gce_id(number: int) -> None:
    with pytest.raises(Invalid):
        begins_gce(number, "instance")
